/* Digests of the runs of tests/c/test_train.c, the same on every machine; made by test_train --print. They change
 * only with the arithmetic contract. */
static const struct golden {
    const char *kind, *name;
    uint64_t digest;
} goldens[] = {
    {"optimizer", "sgd", 0x5f04c95c52209483u},
    {"optimizer", "momentum", 0x32bba50541d21bf4u},
    {"optimizer", "nesterov_clipped", 0xd65a7f7629e9fdfeu},
    {"optimizer", "adam", 0x7f85e9fd8d62499bu},
    {"optimizer", "adamw_clipped", 0xc1297566b37f91feu},
    {"activation", "identity", 0xb10a464c45910e32u},
    {"activation", "relu", 0x7f85e9fd8d62499bu},
    {"activation", "leaky_relu", 0x0be3521800a962e1u},
    {"activation", "sigmoid", 0x68c11927c053a200u},
    {"activation", "tanh", 0x830d314911425719u},
    {"activation", "softplus", 0x9c99a65f9b939fcau},
    {"activation", "gelu", 0x53101615dee0d2a9u},
    {"activation", "silu", 0x7819e0af4f735efeu},
    {"loss", "squared", 0x65de79704dd4b629u},
    {"loss", "half_squared", 0x37146d4ed3182e9du},
    {"loss", "mean_squared", 0x11f75f429c42b4e3u},
    {"loss", "cross_entropy", 0x4d76211646b1a8a0u},
    {"loss", "binary", 0x08bce374ff6885d3u},
    {"wide", "relu", 0x28625039c41435e7u},
    {"wide", "gelu", 0x3389eeb8a5bed96au},
    {"function", "identity", 0xa47f10252139107cu},
    {"function", "relu", 0x1b5d7d99025ab8c1u},
    {"function", "leaky_relu", 0xbac43f5a6f2c7a90u},
    {"function", "sigmoid", 0xb7f573b5d4bf8589u},
    {"function", "tanh", 0x13086efc6d349114u},
    {"function", "softplus", 0xc71d410bcaf280f7u},
    {"function", "gelu", 0xc4d9b2e3b166b943u},
    {"function", "silu", 0x062fad591709efb1u},
    {"draw", "he_normal", 0xdeb02d3f6df58494u},
    {"draw", "he_uniform", 0x37035e7f22ad74a5u},
    {"draw", "glorot_normal", 0xe8c6a0a28959d349u},
    {"draw", "glorot_uniform", 0xecb2b9ac2f7b27fdu},
};
