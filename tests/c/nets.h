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
__attribute__((unused)) static void net_from(const char *text, size_t inputs, pynn_layer layers[NET_LAYERS],
                                             pynn_net *net, float *params, size_t most_params)
{
    size_t count = 0, width = inputs;
    for (const char *p = text; *p != '\0'; p++) {
        pynn_layer *layer = &layers[count++];
        const char *activation = strchr(NET_ACTIVATIONS, *p);
        *layer = (pynn_layer){.kind = PYNN_DROPOUT, .p = 0.3};
        if (*p == 'd') {
            char *end;
            *layer = (pynn_layer){.kind = PYNN_DENSE, .inputs = width, .outputs = strtoul(p + 1, &end, 10)};
            width = layer->outputs;
            p = end - 1;
        } else if (activation != NULL) {
            *layer = (pynn_layer){.kind = PYNN_IDENTITY + (int32_t)(activation - NET_ACTIVATIONS)};
            if (layer->kind == PYNN_LEAKY_RELU) layer->slope = 0.125;
        } else if (*p == 'm') {
            *layer = (pynn_layer){.kind = PYNN_SOFTMAX};
        }
    }
    CHECK_OK(pynn_net_init(net, layers, count));
    CHECK(net->param_count <= most_params, "%s has %zu parameters", text, net->param_count);
    CHECK_OK(pynn_params_init(params, net, any_bits()));
    for (size_t i = 0; i < net->layer_count; i++) {
        size_t at = 0;
        if (layers[i].kind != PYNN_DENSE) continue;
        CHECK_OK(pynn_net_offset(&at, net, i));
        fill_any(params + at + layers[i].inputs * layers[i].outputs, layers[i].outputs, -0.5f, 0.5f);
    }
}

/* A plan of a net and its parameters, in memory of its own. */
__attribute__((unused)) static const pynn_plan *plan_from(const pynn_net *net, const float *params)
{
    const pynn_model model = {.net = net, .params = params};
    const pynn_plan *plan = NULL;
    size_t bytes = 0;
    CHECK_OK(pynn_plan_bytes(&bytes, net));
    CHECK_OK(pynn_plan_init(&plan, &model, memory_of(bytes)));
    return plan;
}

#endif
