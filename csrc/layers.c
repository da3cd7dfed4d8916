/* Dense, activations, softmax and dropout, forward and backward on buffers. */
#include "internal.h"

#include <string.h>

int pynni_keeps_score(int32_t activation)
{
    return activation == PYNN_SOFTPLUS || activation == PYNN_GELU || activation == PYNN_SILU;
}

static pynn_status check_dense(size_t rows, size_t x_stride, size_t inputs, size_t outputs)
{
    if (inputs == 0 || outputs == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_check_rows(inputs, outputs, outputs));
    PYNNI_TRY(pynni_check_rows(rows, outputs, outputs));
    return pynni_check_rows(rows, inputs, x_stride);
}

pynn_status pynn_dense_forward(float *s, const float *x, size_t x_stride, const float *w, const float *b, size_t rows,
                               size_t inputs, size_t outputs)
{
    pynni_call call;
    if (w == NULL || b == NULL || (rows > 0 && (s == NULL || x == NULL))) return PYNN_NULL_POINTER;
    PYNNI_TRY(check_dense(rows, x_stride, inputs, outputs));
    PYNNI_TRY(pynni_enter(&call));
    call.kernels->gemm(&(pynni_gemm){.c = s, .a = x, .b = w, .start = b, .c_stride = outputs, .a_row = x_stride,
                                     .a_k = 1, .b_stride = outputs, .m = rows, .n = outputs, .k = inputs});
    pynni_leave(&call);
    return PYNN_OK;
}

void pynni_dense_weight_grad(const pynni_kernels *kernels, float *dw, const float *ds, int ds_is_packed, const float *x,
                             size_t x_stride, size_t rows, size_t outputs, size_t first, size_t count, float *scratch)
{
    kernels->gemm(&(pynni_gemm){.c = dw, .a = x + first, .b = ds, .scratch = scratch, .c_stride = outputs, .a_row = 1, .a_k = x_stride,
                                .b_stride = ds_is_packed ? kernels->panel : outputs,
                                .b_panel = ds_is_packed ? rows * kernels->panel : 0, .m = count, .n = outputs,
                                .k = rows});
}

/* The weight gradient of an input that is constantly 1. */
void pynni_dense_bias_grad(const pynni_kernels *kernels, float *db, const float *ds, size_t rows, size_t outputs)
{
    static const float one = 1.0f;
    pynni_dense_weight_grad(kernels, db, ds, 0, &one, 0, rows, outputs, 0, 1, NULL);
}

void pynni_dense_input_grad(const pynni_kernels *kernels, float *dx, const float *ds, const float *turned,
                            const float *relu, size_t rows, size_t inputs, size_t outputs, float *scratch)
{
    kernels->gemm(&(pynni_gemm){.c = dx, .a = ds, .b = turned, .scratch = scratch, .relu = relu, .c_stride = inputs, .a_row = outputs,
                                .a_k = 1, .b_stride = kernels->panel, .b_panel = outputs * kernels->panel, .m = rows,
                                .n = inputs, .k = outputs,
                                .finish = relu != NULL ? PYNNI_FINISH_FLUSH_RELU : PYNNI_FINISH_FLUSH});
}

pynn_status pynn_dense_backward(float *dx, float *dw, float *db, const float *ds, const float *x, size_t x_stride,
                                const float *w, size_t rows, size_t inputs, size_t outputs, void *workspace,
                                size_t workspace_bytes)
{
    pynni_call call;
    if (rows > 0 && (ds == NULL || (dw != NULL && x == NULL))) return PYNN_NULL_POINTER;
    if (dx != NULL && w == NULL) return PYNN_NULL_POINTER;
    PYNNI_TRY(check_dense(rows, dw != NULL ? x_stride : inputs, inputs, outputs));
    if (dx != NULL) PYNNI_TRY(pynni_check_workspace(workspace, workspace_bytes, pynni_packed(outputs, inputs)));
    PYNNI_TRY(pynni_enter(&call));
    if (dx != NULL && rows > 0) {
        call.kernels->pack_turned(workspace, w, outputs, inputs);
        pynni_dense_input_grad(call.kernels, dx, ds, workspace, NULL, rows, inputs, outputs, NULL);
    }
    if (rows == 0) { /* sums over no rows, and ds and x may be NULL */
        if (dw != NULL) memset(dw, 0, inputs * outputs * sizeof *dw);
        if (db != NULL) memset(db, 0, outputs * sizeof *db);
    } else {
        if (dw != NULL) pynni_dense_weight_grad(call.kernels, dw, ds, 0, x, x_stride, rows, outputs, 0, inputs, NULL);
        if (db != NULL) pynni_dense_bias_grad(call.kernels, db, ds, rows, outputs);
    }
    pynni_leave(&call);
    return PYNN_OK;
}

static pynn_status check_activation(int32_t kind, double value)
{
    if (kind < PYNN_IDENTITY || kind > PYNN_SILU) return PYNN_BAD_KIND;
    if (kind == PYNN_LEAKY_RELU && !pynni_within(value, 0.0, FLT_MAX)) return PYNN_BAD_VALUE;
    return PYNN_OK;
}

pynn_status pynn_activation_forward(float *a, const float *s, size_t n, int32_t kind, double value)
{
    pynni_call call;
    if (n > 0 && (a == NULL || s == NULL)) return PYNN_NULL_POINTER;
    PYNNI_TRY(check_activation(kind, value));
    PYNNI_TRY(pynni_check_rows(n, 1, 1));
    PYNNI_TRY(pynni_enter(&call));
    call.kernels->forward[kind - PYNN_IDENTITY](a, s, n, (float)value);
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_activation_backward(float *ds, const float *da, const float *s, const float *a, size_t n, int32_t kind,
                                     double value)
{
    const float *kept = pynni_keeps_score(kind) ? s : a;
    pynni_call call;
    if (n > 0 && (ds == NULL || da == NULL || (kept == NULL && kind != PYNN_IDENTITY))) return PYNN_NULL_POINTER;
    PYNNI_TRY(check_activation(kind, value));
    PYNNI_TRY(pynni_check_rows(n, 1, 1));
    PYNNI_TRY(pynni_enter(&call));
    call.kernels->backward[kind - PYNN_IDENTITY](ds, da, kept, n, (float)value);
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_softmax_forward(float *h, const float *s, size_t rows, size_t width)
{
    pynni_call call;
    if (rows > 0 && (h == NULL || s == NULL)) return PYNN_NULL_POINTER;
    if (width == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_check_rows(rows, width, width));
    PYNNI_TRY(pynni_enter(&call));
    call.kernels->softmax_forward(h, s, rows, width);
    pynni_leave(&call);
    return PYNN_OK;
}

pynn_status pynn_softmax_backward(float *ds, const float *dh, const float *h, size_t rows, size_t width)
{
    pynni_call call;
    if (rows > 0 && (ds == NULL || dh == NULL || h == NULL)) return PYNN_NULL_POINTER;
    if (width == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_check_rows(rows, width, width));
    PYNNI_TRY(pynni_enter(&call));
    call.kernels->softmax_backward(ds, dh, h, rows, width);
    pynni_leave(&call);
    return PYNN_OK;
}

static pynn_status check_dropout(const void *out, const void *in, const pynn_mask *mask, size_t rows, size_t width,
                                 double p)
{
    if (mask == NULL || (rows > 0 && width > 0 && (out == NULL || in == NULL))) return PYNN_NULL_POINTER;
    if (!pynni_within(p, 0.0, PYNNI_MOST_DROPOUT)) return PYNN_BAD_VALUE;
    return pynni_check_rows(rows, width, width);
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
    call.kernels->backward[PYNN_IDENTITY - PYNN_IDENTITY](dx, dx, NULL, rows * width, 0.0f);
    pynni_leave(&call);
    return PYNN_OK;
}
