/*
 * Nets from a line of text: d12 is a dense layer with 12 outputs, every other layer one letter:
 * i identity, r relu, l leaky relu, s sigmoid, t tanh, p softplus, g gelu, u silu, m softmax, o dropout.
 */
#ifndef NETS_H
#define NETS_H

#include "check.h"

enum { NET_LAYERS = 16 };
#define NET_ACTIVATIONS "irlstpgu" /* in the order of pynn_layer_kind */

/* The net points to `layers`. Weights are drawn, and biases too. */
static void net_from(const char *text, size_t inputs, pynn_layer layers[NET_LAYERS], pynn_net *net, float *params,
                     size_t most_params)
{
    size_t count = 0, width = inputs;
    for (const char *p = text; *p != '\0'; p++) {
        pynn_layer *layer = &layers[count++];
        const char *activation = strchr(NET_ACTIVATIONS, *p);
        *layer = (pynn_layer){PYNN_DROPOUT, 0, 0, 0, 0.3};
        if (*p == 'd') {
            char *end;
            *layer = (pynn_layer){PYNN_DENSE, PYNN_INIT_AUTO, width, strtoul(p + 1, &end, 10), 0.0};
            width = layer->outputs;
            p = end - 1;
        } else if (activation != NULL) {
            *layer = (pynn_layer){PYNN_IDENTITY + (int32_t)(activation - NET_ACTIVATIONS), 0, 0, 0, 0.125};
        } else if (*p == 'm') {
            *layer = (pynn_layer){PYNN_SOFTMAX, 0, 0, 0, 0.0};
        }
    }
    CHECK_OK(pynn_net_init(net, layers, count));
    CHECK(net->param_count <= most_params, "%s has %zu parameters", text, net->param_count);
    CHECK_OK(pynn_net_draw(params, net, any_bits()));
    for (size_t i = 0; i < net->layer_count; i++) {
        size_t at = 0;
        if (layers[i].kind != PYNN_DENSE) continue;
        CHECK_OK(pynn_net_offset(&at, net, i));
        fill_any(params + at + layers[i].inputs * layers[i].outputs, layers[i].outputs, -0.5f, 0.5f);
    }
}

#endif
