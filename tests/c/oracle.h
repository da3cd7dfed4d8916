/*
 * The arithmetic contract written out again, one float at a time and without regard to speed: what every result must
 * be, to the last bit. It shares with the library only the elementary functions, since their sequence of operations is
 * their definition (tests/c/exhaustive.c holds them against libm), and runs even those on the C library's fmaf.
 */
#ifndef ORACLE_H
#define ORACLE_H

#include "check.h"
#include "pynn.h"

#define vf_fma vf_fma_of_the_library
#include "kernels/simd_scalar.h"
#undef vf_fma
static inline float vf_fma(float a, float b, float c) { return fmaf(a, b, c); }
#include "kernels/math.inc"

#define ORACLE __attribute__((unused)) static

/* The fma that the library makes without the instruction (rule 9), if this build has none. */
ORACLE float library_fma(float a, float b, float c) { return vf_fma_of_the_library(a, b, c); }

/* ---- rules 2, 3, 6 ----------------------------------------------------- */

/* start + the sum of a_k b_k: chains of 256, added in order. */
ORACLE float o_product(float start, const float *a, size_t a_step, const float *b, size_t b_step, size_t n)
{
    float y = start;
    for (size_t block = 0; block < n; block += 256) {
        float chain = block == 0 ? start : 0.0f;
        for (size_t k = block; k < n && k < block + 256; k++) chain = fmaf(a[k * a_step], b[k * b_step], chain);
        y = block == 0 ? chain : y + chain;
    }
    return y;
}

/* Sixteen lanes to one sum. */
ORACLE float o_lanes(float lane[16])
{
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

ORACLE float o_flush(float x) { return fabsf(x) < 0x1p-100f ? 0.0f : x; }

ORACLE float o_sum_of_squares(const float *x, size_t n)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(x[i], x[i], lane[i % 16]);
    return o_lanes(lane);
}

/* ---- layers ------------------------------------------------------------ */

ORACLE void o_dense_forward(float *s, const float *x, size_t x_stride, const float *w, const float *b, size_t rows,
                            size_t inputs, size_t outputs)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < outputs; j++)
            s[r * outputs + j] = o_product(b[j], x + r * x_stride, 1, w + j, outputs, inputs);
}

/* Any of dx, dw, db may be NULL. */
ORACLE void o_dense_backward(float *dx, float *dw, float *db, const float *ds, const float *x, size_t x_stride,
                             const float *w, size_t rows, size_t inputs, size_t outputs)
{
    const float one = 1.0f;
    for (size_t r = 0; dx != NULL && r < rows; r++)
        for (size_t i = 0; i < inputs; i++)
            dx[r * inputs + i] = o_flush(o_product(0.0f, ds + r * outputs, 1, w + i * outputs, 1, outputs));
    for (size_t i = 0; dw != NULL && i < inputs; i++)
        for (size_t j = 0; j < outputs; j++)
            dw[i * outputs + j] = o_product(0.0f, x + i, x_stride, ds + j, outputs, rows);
    for (size_t j = 0; db != NULL && j < outputs; j++) db[j] = o_product(0.0f, &one, 0, ds + j, outputs, rows);
}

ORACLE float o_activation(float s, int32_t kind, float slope)
{
    switch (kind) {
    case PYNN_RELU: return s <= 0.0f ? 0.0f : s;
    case PYNN_LEAKY_RELU: return s <= 0.0f ? slope * s : s;
    case PYNN_SIGMOID: return m_sigmoid(s);
    case PYNN_TANH: return m_tanh(s);
    case PYNN_SOFTPLUS: return m_softplus(s);
    case PYNN_GELU: return m_gelu(s);
    case PYNN_SILU: return s * m_sigmoid(s);
    default: return s;
    }
}

ORACLE float o_activation_back(float da, float s, float a, int32_t kind, float slope)
{
    const float q = m_sigmoid(s);
    switch (kind) {
    case PYNN_RELU: return o_flush(a <= 0.0f ? 0.0f : da);
    case PYNN_LEAKY_RELU: return o_flush(a <= 0.0f ? slope * da : da);
    case PYNN_SIGMOID: return o_flush(da * (a * (1.0f - a)));
    case PYNN_TANH: return o_flush(da * fmaf(-a, a, 1.0f));
    case PYNN_SOFTPLUS: return o_flush(da * q);
    case PYNN_GELU: return o_flush(da * m_gelu_slope(s));
    case PYNN_SILU: return o_flush(da * (q * fmaf(s, 1.0f - q, 1.0f)));
    default: return o_flush(da);
    }
}

/* The largest of a row and the sum of the exponentials, which go to e unless that is NULL. */
ORACLE float o_exponentials(float *e, const float *s, size_t n, float *largest)
{
    float lane[16] = {0}, m = -INFINITY;
    for (size_t i = 0; i < n; i++) m = s[i] > m ? s[i] : m;
    for (size_t i = 0; i < n; i++) {
        const float x = m_exp(s[i] - m);
        if (e != NULL) e[i] = x;
        lane[i % 16] += x;
    }
    *largest = m;
    return o_lanes(lane);
}

ORACLE void o_softmax(float *h, const float *s, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        float largest;
        const float sum = o_exponentials(h + r * n, s + r * n, n, &largest);
        for (size_t i = 0; i < n; i++) h[r * n + i] = h[r * n + i] / sum;
    }
}

ORACLE void o_softmax_back(float *ds, const float *dh, const float *h, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++) {
        float lane[16] = {0}, dot;
        for (size_t i = 0; i < n; i++) lane[i % 16] = fmaf(dh[r * n + i], h[r * n + i], lane[i % 16]);
        dot = o_lanes(lane);
        for (size_t i = 0; i < n; i++) ds[r * n + i] = o_flush(h[r * n + i] * (dh[r * n + i] - dot));
    }
}

/* ---- random numbers (rule 10) ------------------------------------------ */

ORACLE void o_philox(uint32_t counter[4], uint32_t key0, uint32_t key1)
{
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = 0xD2511F53u * (uint64_t)counter[0], p1 = 0xCD9E8D57u * (uint64_t)counter[2];
        const uint32_t made[4] = {(uint32_t)(p1 >> 32) ^ counter[1] ^ key0, (uint32_t)p1,
                                  (uint32_t)(p0 >> 32) ^ counter[3] ^ key1, (uint32_t)p0};
        memcpy(counter, made, sizeof made);
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
}

ORACLE uint32_t o_word(uint64_t element, uint64_t seed, uint32_t step, uint32_t stream)
{
    const uint64_t q = 16 * (element / 64) + element % 16;
    uint32_t counter[4] = {(uint32_t)q, (uint32_t)(q >> 32), step, stream};
    o_philox(counter, (uint32_t)seed, (uint32_t)(seed >> 32));
    return counter[element / 16 % 4];
}

enum { O_INIT = 0, O_SHUFFLE = 1, O_DROPOUT = 2 };
ORACLE uint32_t o_stream(uint32_t purpose, uint32_t layer) { return purpose * 0x1000000u + layer; }

ORACLE float o_dropped(float x, const pynn_mask *mask, uint64_t element, double p)
{
    const uint32_t limit = (uint32_t)floor(65536.0 * p + 0.5);
    const uint32_t word = o_word(element / 2, mask->seed, mask->step, o_stream(O_DROPOUT, mask->layer));
    const uint32_t half = element % 2 == 0 ? word & 0xFFFFu : word >> 16;
    return half >= limit ? x * (float)(65536.0 / (65536.0 - limit)) : 0.0f;
}

/* ---- losses (rule 5) --------------------------------------------------- */

ORACLE double o_weight(const pynn_targets *targets, size_t row)
{
    return targets->weights != NULL ? (double)targets->weights[row] : 1.0;
}

/* What the loss and gradient of rows order[0 .. rows) are divided by. */
ORACLE double o_divisor(const pynn_targets *targets, const uint32_t *order, size_t rows)
{
    double sum = 0.0;
    if (targets->normalise == PYNN_BY_ROWS) return (double)rows;
    if (targets->normalise == PYNN_BY_NUMBER) return targets->divisor;
    for (size_t r = 0; r < rows; r++) sum += o_weight(targets, order != NULL ? order[r] : r);
    return sum;
}

/* The loss of a row and its gradient, times scale; t or label is the target, v the output weights or NULL. */
ORACLE float o_row_loss(float *d, const float *s, const float *t, int32_t label, const float *v, float scale, size_t n,
                        int32_t kind)
{
    float lane[16] = {0}, loss;
    if (kind == PYNN_CROSS_ENTROPY) {
        float mass[16] = {0}, largest, given;
        const float all = o_exponentials(d, s, n, &largest), log_all = m_log(all);
        for (size_t i = 0; i < n && t != NULL && v != NULL; i++) mass[i % 16] = fmaf(t[i], v[i], mass[i % 16]);
        given = o_lanes(mass);
        for (size_t i = 0; i < n; i++) {
            const float h = o_flush(d[i] / all), term = log_all - (s[i] - largest);
            if (t == NULL) {
                const float apart = h - (i == (size_t)label ? 1.0f : 0.0f);
                d[i] = o_flush((v != NULL ? apart * v[label] : apart) * scale);
            } else if (v == NULL) {
                if (t[i] > 0.0f) lane[i % 16] = fmaf(t[i], term, lane[i % 16]);
                d[i] = o_flush((h - t[i]) * scale);
            } else {
                const float goal = t[i] * v[i], part = h * given;
                if (goal > 0.0f) lane[i % 16] = fmaf(goal, term, lane[i % 16]);
                d[i] = o_flush((part - goal) * scale);
            }
        }
        if (t != NULL) return o_lanes(lane);
        loss = log_all - (s[label] - largest);
        return v != NULL ? v[label] * loss : loss;
    }
    for (size_t i = 0; i < n; i++) {
        const int binary = kind == PYNN_BINARY_CROSS_ENTROPY;
        const float apart = (binary ? m_sigmoid(s[i]) : s[i]) - t[i], weighted = v != NULL ? apart * v[i] : apart;
        if (binary) {
            const float most = s[i] <= 0.0f ? 0.0f : s[i];
            const float term = (most - s[i] * t[i]) + m_log1p_unit(m_exp(-fabsf(s[i])));
            const float part = v != NULL ? v[i] * term : term;
            lane[i % 16] += part;
        } else {
            lane[i % 16] = fmaf(weighted, apart, lane[i % 16]);
        }
        d[i] = o_flush(weighted * scale);
    }
    loss = o_lanes(lane);
    return kind == PYNN_HALF_SQUARED_ERROR ? loss / 2.0f : kind == PYNN_MEAN_SQUARED_ERROR ? loss / (float)n : loss;
}

/* Row values, the gradient and the loss of rows order[0 .. rows) (0 .. rows without an order). */
ORACLE double o_loss(float *losses, float *ds, const float *y, const pynn_targets *targets, const uint32_t *order,
                     size_t rows, size_t n, int32_t kind, double *divisor)
{
    const double by = o_divisor(targets, order, rows);
    double total = 0.0;
    for (size_t r = 0; r < rows; r++) {
        const size_t row = order != NULL ? order[r] : r;
        const size_t t_stride = targets->stride != 0 ? targets->stride : n;
        const size_t v_dense = targets->output_weights_stride != 0 ? targets->output_weights_stride : n;
        const size_t v_stride = targets->same_output_weights ? 0 : v_dense;
        const float *t = targets->rows != NULL ? targets->rows + row * t_stride : NULL;
        const float *v = targets->output_weights != NULL ? targets->output_weights + row * v_stride : NULL;
        const double weight = o_weight(targets, row);
        const double kappa = kind == PYNN_SQUARED_ERROR ? 2.0 : kind == PYNN_MEAN_SQUARED_ERROR ? 2.0 / (double)n : 1.0;
        const int counts = weight < 0.0 || weight > 0.0;
        const int32_t label = targets->labels == NULL || !counts ? 0 : targets->labels[row];
        const float scale = by > 0.0 ? (float)(kappa * weight / by) : 0.0f;
        losses[r] = o_row_loss(ds + r * n, y + r * n, t, label, v, scale, n, kind);
        if (counts) total += weight * (double)losses[r];
        for (size_t i = 0; i < n && (!counts || !(by > 0.0)); i++) ds[r * n + i] = 0.0f; /* even where y is infinite */
    }
    if (divisor != NULL) *divisor = by;
    return by > 0.0 ? total / by : 0.0;
}

/* ---- optimizers (rule 7) ----------------------------------------------- */

ORACLE float o_clip(const float *g, size_t n, double limit)
{
    double sum = 0.0;
    float norm;
    for (size_t i = 0; i < n; i += 4096) sum += (double)o_sum_of_squares(g + i, n - i < 4096 ? n - i : 4096);
    norm = sqrtf((float)sum);
    return (double)norm > limit ? (float)(limit / (double)norm) : 1.0f;
}

ORACLE void o_update(float *params, float *moments, pynn_state *state, const float *grads, const pynn_net *net,
                     const pynn_optimizer *how, double lr)
{
    const int adam = how->kind == PYNN_ADAM || how->kind == PYNN_ADAMW;
    const int given = how->beta1 > 0.0 || how->beta2 > 0.0 || how->epsilon > 0.0;
    const double beta1 = given ? how->beta1 : 0.9, beta2 = given ? how->beta2 : 0.999;
    const double epsilon = given ? how->epsilon : 1e-8;
    const float clip = how->clip_norm > 0.0 ? o_clip(grads, net->param_count, how->clip_norm) : 1.0f;
    const float mu = (float)how->momentum;
    float r = 0.0f, l = 0.0f, e = 0.0f;
    size_t at = 0;
    if (state->steps == 0) state->beta1_power = state->beta2_power = 1.0;
    state->steps += 1;
    if (adam) {
        state->beta1_power *= beta1;
        state->beta2_power *= beta2;
        r = sqrtf((float)(1.0 - state->beta2_power));
        l = (float)(lr * (double)r / (1.0 - state->beta1_power));
        e = (float)(epsilon * (double)r);
    }
    for (size_t layer = 0; layer < net->layer_count; layer++) {
        const size_t inputs = net->layers[layer].inputs, outputs = net->layers[layer].outputs;
        if (net->layers[layer].kind != PYNN_DENSE) continue;
        for (size_t i = 0; i < (inputs + 1) * outputs; i++, at++) {
            const int is_weight = i < inputs * outputs;
            float w = params[at], g = grads[at] * clip;
            if (is_weight && how->kind != PYNN_ADAMW && how->weight_decay > 0.0)
                g = fmaf((float)how->weight_decay, w, g);
            if (adam) {
                float *m = &moments[at], *v = &moments[net->param_count + at];
                if (is_weight && how->kind == PYNN_ADAMW) w = w * (float)(1.0 - lr * how->weight_decay);
                *m = o_flush(fmaf((float)beta1, *m, (float)(1.0 - beta1) * g));
                *v = o_flush(fmaf((float)beta2, *v, ((float)(1.0 - beta2) * g) * g));
                w = w - (l * *m) / (sqrtf(*v) + e);
            } else if (how->momentum > 0.0) {
                float *v = &moments[at];
                *v = o_flush(fmaf(mu, *v, g));
                w = w - (float)lr * (how->nesterov ? fmaf(mu, *v, g) : *v);
            } else {
                w = w - (float)lr * g;
            }
            params[at] = w;
        }
    }
}

/* ---- a whole net, layer by layer --------------------------------------- */

enum { O_LAYERS = 16 }; /* at most */

/* What is before each layer, and behind the last: (rows, width); and the gradients of the same. */
typedef struct o_trace {
    float *x[O_LAYERS + 1], *dx[O_LAYERS + 1];
    size_t width[O_LAYERS + 1];
    size_t layers;
} o_trace;

ORACLE o_trace o_trace_make(const pynn_net *net, size_t rows)
{
    o_trace t = {.layers = net->layer_count};
    for (size_t i = 0; i <= t.layers; i++) {
        const pynn_layer *before = i > 0 ? &net->layers[i - 1] : NULL;
        t.width[i] = before == NULL ? net->inputs : before->kind == PYNN_DENSE ? before->outputs : t.width[i - 1];
        t.x[i] = calloc(rows * t.width[i] + 1, sizeof(float));
        t.dx[i] = calloc(rows * t.width[i] + 1, sizeof(float));
    }
    return t;
}
ORACLE void o_trace_free(o_trace *t)
{
    for (size_t i = 0; i <= t->layers; i++) {
        free(t->x[i]);
        free(t->dx[i]);
    }
}

/* The layers before `end`, which is pynn_end; gives how many. */
ORACLE size_t o_layers(const pynn_net *net, int32_t end)
{
    const int32_t last = net->layers[net->layer_count - 1].kind;
    return net->layer_count - (end == PYNN_SCORES && (last == PYNN_SOFTMAX || last == PYNN_SIGMOID));
}

ORACLE void o_forward(o_trace *t, const pynn_net *net, const float *params, const float *x, size_t x_stride,
                      const pynn_mask *mask, size_t rows)
{
    uint32_t dropouts = 0;
    for (size_t r = 0; r < rows; r++) memcpy(t->x[0] + r * net->inputs, x + r * x_stride, net->inputs * sizeof(float));
    for (size_t i = 0; i < net->layer_count; i++) {
        const pynn_layer *layer = &net->layers[i];
        const size_t width = t->width[i], n = rows * width;
        const float *in = t->x[i];
        float *out = t->x[i + 1];
        if (layer->kind == PYNN_DENSE) {
            o_dense_forward(out, in, width, params, params + width * layer->outputs, rows, width, layer->outputs);
            params += (width + 1) * layer->outputs;
        } else if (layer->kind == PYNN_SOFTMAX) {
            o_softmax(out, in, rows, width);
        } else if (layer->kind == PYNN_DROPOUT) {
            pynn_mask own = mask != NULL ? *mask : (pynn_mask){0};
            own.layer = dropouts++;
            for (size_t k = 0; k < n; k++) out[k] = mask != NULL ? o_dropped(in[k], &own, k, layer->p) : in[k];
        } else {
            for (size_t k = 0; k < n; k++) out[k] = o_activation(in[k], layer->kind, (float)layer->slope);
        }
    }
}

/* From the gradient behind layer `layers`, in t->dx[layers], to those of all parameters and of the input, t->dx[0]. */
ORACLE void o_backward(o_trace *t, float *grads, const pynn_net *net, const float *params, const pynn_mask *mask,
                       size_t rows, size_t layers)
{
    size_t at = net->param_count;
    uint32_t dropouts = 0;
    for (size_t i = 0; i < layers; i++) dropouts += net->layers[i].kind == PYNN_DROPOUT;
    for (size_t i = net->layer_count; i-- > layers;)
        if (net->layers[i].kind == PYNN_DENSE) at -= (t->width[i] + 1) * t->width[i + 1];
    for (size_t i = layers; i-- > 0;) {
        const pynn_layer *layer = &net->layers[i];
        const size_t width = t->width[i], n = rows * width;
        const float *dout = t->dx[i + 1];
        float *din = t->dx[i];
        if (layer->kind == PYNN_DENSE) {
            at -= (width + 1) * layer->outputs;
            o_dense_backward(din, grads + at, grads + at + width * layer->outputs, dout, t->x[i], width, params + at,
                             rows, width, layer->outputs);
        } else if (layer->kind == PYNN_SOFTMAX) {
            o_softmax_back(din, dout, t->x[i + 1], rows, width);
        } else if (layer->kind == PYNN_DROPOUT) {
            pynn_mask own = mask != NULL ? *mask : (pynn_mask){0};
            own.layer = --dropouts;
            for (size_t k = 0; k < n; k++)
                din[k] = o_flush(mask != NULL ? o_dropped(dout[k], &own, k, layer->p) : dout[k]);
        } else {
            for (size_t k = 0; k < n; k++)
                din[k] = o_activation_back(dout[k], t->x[i][k], t->x[i + 1][k], layer->kind, (float)layer->slope);
        }
    }
}

ORACLE int32_t o_loss_end(int32_t loss_kind)
{
    return loss_kind == PYNN_CROSS_ENTROPY || loss_kind == PYNN_BINARY_CROSS_ENTROPY ? PYNN_SCORES : PYNN_OUTPUTS;
}

/* Rows of weight 0 in which anything is not finite count as +0 everywhere. */
ORACLE void o_leave_out(o_trace *t, const pynn_targets *targets, size_t rows)
{
    for (size_t r = 0; r < rows; r++) {
        int finite = 1;
        if (o_weight(targets, r) < 0.0 || o_weight(targets, r) > 0.0) continue;
        for (size_t i = 0; i <= t->layers; i++)
            for (size_t k = 0; k < t->width[i]; k++) finite &= fabsf(t->x[i][r * t->width[i] + k]) <= FLT_MAX;
        for (size_t i = 0; i <= t->layers && !finite; i++)
            memset(t->x[i] + r * t->width[i], 0, t->width[i] * sizeof(float));
    }
}

ORACLE double o_loss_and_grad(o_trace *t, float *grads, const pynn_net *net, const float *params, const float *x,
                              size_t x_stride, const pynn_targets *targets, const pynn_mask *mask, size_t rows,
                              int32_t loss_kind)
{
    const size_t layers = o_layers(net, o_loss_end(loss_kind));
    float *losses = calloc(rows, sizeof(float));
    double loss;
    o_forward(t, net, params, x, x_stride, mask, rows);
    o_leave_out(t, targets, rows);
    loss = o_loss(losses, t->dx[layers], t->x[layers], targets, NULL, rows, net->outputs, loss_kind, NULL);
    o_backward(t, grads, net, params, mask, rows, layers);
    free(losses);
    return loss;
}

#endif
