/* Dense, activations, softmax and dropout, forward and backward on buffers. */
#include "internal.h"

#include <string.h>

#ifndef PYNN_WITHOUT_TRAINING

void pynni_dense_weight_grad(const pynni_kernels *kernels, float *dw, const float *ds, int ds_is_packed, const float *x,
                             size_t x_stride, size_t rows, size_t outputs, size_t first, size_t count, float *scratch)
{
    const size_t panel = pynni_panel(kernels);
    PYNNI_KERNEL(kernels, gemm)(&(pynni_gemm){.c = dw, .a = x + first, .b = ds, .scratch = scratch, .c_stride = outputs,
                                              .a_row = 1, .a_k = x_stride, .b_stride = ds_is_packed ? panel : outputs,
                                              .b_panel = ds_is_packed ? rows * panel : 0, .m = count, .n = outputs,
                                              .k = rows});
}

/* The weight gradient of an input that is constantly 1. */
void pynni_dense_bias_grad(const pynni_kernels *kernels, float *db, const float *ds, size_t rows, size_t outputs)
{
    static const float one = 1.0f;
    pynni_dense_weight_grad(kernels, db, ds, 0, &one, 0, rows, outputs, 0, 1, NULL);
}

void pynni_dense_input_grad(const pynni_kernels *kernels, float *dx, const float *ds, const float *transposed,
                            const float *relu, size_t rows, size_t inputs, size_t outputs, float *scratch)
{
    const size_t panel = pynni_panel(kernels);
    PYNNI_KERNEL(kernels, gemm)(&(pynni_gemm){.c = dx, .a = ds, .b = transposed, .scratch = scratch, .relu = relu,
                                              .c_stride = inputs, .a_row = outputs, .a_k = 1, .b_stride = panel,
                                              .b_panel = outputs * panel, .m = rows, .n = inputs, .k = outputs,
                                              .finish = relu != NULL ? PYNNI_FINISH_FLUSH_RELU : PYNNI_FINISH_FLUSH});
}

#endif

/* ---- dense ------------------------------------------------------------- */

static pynn_status check_dense(const pynn_dense *dense, size_t rows)
{
    if (dense == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DENSE);
    if (dense->inputs == 0 || dense->outputs == 0) return PYNNI_BAD(PYNN_BAD_SIZE, DENSE);
    if (!pynni_fits(pynni_larger(rows, dense->inputs), dense->outputs, 0)) return PYNNI_BAD(PYNN_TOO_LARGE, DENSE);
    PYNNI_CHECK_RESERVE(dense->reserved, DENSE);
    return PYNN_OK;
}

pynn_status pynn_dense_forward(float *s, const pynn_dense *dense, const pynn_data *data)
{
    size_t stride;
    pynni_call call;
    if (data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    PYNNI_TRY(check_dense(dense, data->rows));
    if (dense->w == NULL || dense->b == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DENSE);
    if (s == NULL && data->rows > 0) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(pynni_check_data(&stride, data, dense->inputs));
    PYNNI_TRY(pynni_enter(&call));
    PYNNI_KERNEL(call.kernels, gemm)(&(pynni_gemm){.c = s, .a = data->x, .b = dense->w, .start = dense->b,
                                                   .c_stride = dense->outputs, .a_row = stride, .a_k = 1,
                                                   .b_stride = dense->outputs, .m = data->rows, .n = dense->outputs,
                                                   .k = dense->inputs});
    pynni_leave(&call);
    return PYNN_OK;
}

#ifndef PYNN_WITHOUT_TRAINING

static size_t transposed_floats(const pynn_dense *dense)
{
    return PYNNI_TAKES_PLAIN_WEIGHTS ? 0 : pynni_packed(dense->outputs, dense->inputs);
}

pynn_status pynn_dense_backward_bytes(size_t *bytes, const pynn_dense *dense)
{
    if (bytes == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    PYNNI_TRY(check_dense(dense, 0));
    return pynni_bytes(bytes, transposed_floats(dense));
}

pynn_status pynn_dense_backward(float *dx, float *dw, float *db, const float *ds, const pynn_dense *dense,
                                const pynn_data *data, pynn_memory workspace)
{
    size_t stride, rows;
    pynni_call call;
    if (data == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DATA);
    rows = data->rows;
    PYNNI_TRY(check_dense(dense, rows));
    PYNNI_TRY(pynni_check_data_fields(data));
    if (dw != NULL) PYNNI_TRY(pynni_check_data(&stride, data, dense->inputs));
    if (!pynni_fits(rows, dense->inputs, 0)) return PYNNI_BAD(PYNN_TOO_LARGE, DATA_ROWS);
    if (rows > 0 && ds == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, INPUT);
    if (dx != NULL && dense->w == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, DENSE);
    if (dx != NULL) PYNNI_TRY(pynni_check_memory(workspace, transposed_floats(dense)));
    PYNNI_TRY(pynni_enter(&call));
    if (dx != NULL && rows > 0) {
        const float *transposed = PYNNI_TAKES_PLAIN_WEIGHTS ? dense->w : workspace.start;
        if (!PYNNI_TAKES_PLAIN_WEIGHTS)
            PYNNI_KERNEL(call.kernels, pack_transposed)(workspace.start, dense->w, dense->outputs, dense->inputs);
        pynni_dense_input_grad(call.kernels, dx, ds, transposed, NULL, rows, dense->inputs, dense->outputs, NULL);
    }
    if (rows == 0) { /* sums over no rows, and ds and x may be NULL */
        if (dw != NULL) memset(dw, 0, dense->inputs * dense->outputs * sizeof *dw);
        if (db != NULL) memset(db, 0, dense->outputs * sizeof *db);
    } else {
        if (dw != NULL)
            pynni_dense_weight_grad(call.kernels, dw, ds, 0, data->x, stride, rows, dense->outputs, 0, dense->inputs,
                                    NULL);
        if (db != NULL) pynni_dense_bias_grad(call.kernels, db, ds, rows, dense->outputs);
    }
    pynni_leave(&call);
    return PYNN_OK;
}

#endif

/* ---- activations ------------------------------------------------------- */

static pynn_status check_activation(const pynn_layer *activation, size_t n)
{
    if (activation == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, LAYER);
    if (activation->kind < PYNN_IDENTITY || activation->kind > PYNN_SILU) return PYNNI_BAD(PYNN_BAD_KIND, LAYER_KIND);
    PYNNI_TRY(pynni_check_layer(activation));
    return pynni_fits(n, 1, 1) ? PYNN_OK : PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
}

pynn_status pynn_activation_forward(float *a, const float *s, size_t n, const pynn_layer *activation)
{
    pynni_call call;
    PYNNI_TRY(check_activation(activation, n));
    if (n > 0 && a == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (n > 0 && s == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, INPUT);
    PYNNI_TRY(pynni_enter(&call));
    PYNNI_KERNEL(call.kernels, forward)[activation->kind - PYNN_IDENTITY](a, s, n, (float)activation->slope);
    pynni_leave(&call);
    return PYNN_OK;
}

#ifndef PYNN_WITHOUT_TRAINING

pynn_status pynn_activation_backward(float *ds, const float *da, const float *s, const float *a, size_t n,
                                     const pynn_layer *activation)
{
    const float *kept;
    pynni_call call;
    PYNNI_TRY(check_activation(activation, n));
    kept = pynni_keeps_score(activation->kind) ? s : a;
    if (n > 0 && ds == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (n > 0 && (da == NULL || (kept == NULL && activation->kind != PYNN_IDENTITY)))
        return PYNNI_BAD(PYNN_NULL_POINTER, INPUT);
    PYNNI_TRY(pynni_enter(&call));
    PYNNI_KERNEL(call.kernels, backward)[activation->kind - PYNN_IDENTITY](ds, da, kept, n, (float)activation->slope);
    pynni_leave(&call);
    return PYNN_OK;
}

#endif

/* ---- softmax and dropout ----------------------------------------------- */

/* What softmax and dropout ask of their rows; a layer that this build leaves out is refused. */
static pynn_status check_matrix(const void *out, const void *in, size_t rows, size_t width, int has_kind)
{
    if (!has_kind) return PYNNI_BAD(PYNN_BAD_KIND, KIND);
    if (rows > 0 && width > 0 && out == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (rows > 0 && width > 0 && in == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, INPUT);
    return pynni_fits(rows, width, 0) ? PYNN_OK : PYNNI_BAD(PYNN_TOO_LARGE, SIZE);
}

pynn_status pynn_softmax_forward(float *h, const float *s, size_t rows, size_t width)
{
    pynni_call call;
    PYNNI_TRY(check_matrix(h, s, rows, width, PYNNI_HAS_LAYER(PYNN_SOFTMAX)));
    if (width == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    PYNNI_TRY(pynni_enter(&call));
    PYNNI_KERNEL(call.kernels, softmax_forward)(h, s, rows, width);
    pynni_leave(&call);
    return PYNN_OK;
}

#ifndef PYNN_WITHOUT_TRAINING

pynn_status pynn_softmax_backward(float *ds, const float *dh, const float *h, size_t rows, size_t width)
{
    pynni_call call;
    PYNNI_TRY(check_matrix(ds, dh, rows, width, PYNNI_HAS_LAYER(PYNN_SOFTMAX)));
    if (rows > 0 && h == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, INPUT);
    if (width == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    PYNNI_TRY(pynni_enter(&call));
    PYNNI_KERNEL(call.kernels, softmax_backward)(ds, dh, h, rows, width);
    pynni_leave(&call);
    return PYNN_OK;
}

static pynn_status check_dropout(const void *out, const void *in, const pynn_mask *mask, size_t rows, size_t width,
                                 double p)
{
    PYNNI_TRY(pynni_check_mask(mask));
    if (!pynni_within(p, 0.0, PYNNI_MOST_DROPOUT)) return PYNNI_BAD(PYNN_BAD_VALUE, P);
    return check_matrix(out, in, rows, width, PYNNI_HAS_LAYER(PYNN_DROPOUT));
}

pynn_status pynn_dropout_forward(float *y, const float *x, const pynn_mask *mask, size_t rows, size_t width, double p)
{
    pynni_call call;
    PYNNI_TRY(check_dropout(y, x, mask, rows, width, p));
    PYNNI_TRY(pynni_enter(&call));
    pynni_dropout(call.kernels, y, x, mask, 0, rows, width, p);
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_dropout_backward(float *dx, const float *dy, const pynn_mask *mask, size_t rows, size_t width,
                                  double p)
{
    pynni_call call;
    PYNNI_TRY(check_dropout(dx, dy, mask, rows, width, p));
    PYNNI_TRY(pynni_enter(&call));
    pynni_dropout(call.kernels, dx, dy, mask, 0, rows, width, p);
    PYNNI_KERNEL(call.kernels, backward)[0](dx, dx, NULL, rows * width, 0.0f); /* identity: it flushes */
    pynni_leave(&call);
    return PYNN_OK;
}

#endif
