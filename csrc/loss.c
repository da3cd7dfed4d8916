/* Losses of a batch and their gradients. */
#include "internal.h"

#include <string.h>

#ifndef PYNN_WITHOUT_TRAINING

static int is_cross_entropy(int32_t loss)
{
    return (PYNNI_HAS_LOSS(PYNN_CROSS_ENTROPY) && loss == PYNN_CROSS_ENTROPY) ||
           (PYNNI_HAS_LOSS(PYNN_BINARY_CROSS_ENTROPY) && loss == PYNN_BINARY_CROSS_ENTROPY);
}

int32_t pynni_loss_end(int32_t loss) { return is_cross_entropy(loss) ? PYNN_SCORES : PYNN_OUTPUTS; }

/* ---- checks ------------------------------------------------------------ */

static int has_loss(int32_t loss)
{
    return loss >= PYNN_SQUARED_ERROR && loss <= PYNN_BINARY_CROSS_ENTROPY && PYNNI_HAS_LOSS(loss);
}

pynn_status pynni_loss_choose(int32_t *loss, int32_t kind, int32_t last)
{
#define LAST_LAYER(name, kernel, layer) PYNN_##layer,
    static const unsigned char last_layers[] = {PYNNI_LOSS_LIST(LAST_LAYER)};
    int32_t needed;
    if (kind == PYNN_LOSS_AUTO)
        kind = last == PYNN_SOFTMAX   ? PYNN_CROSS_ENTROPY
               : last == PYNN_SIGMOID ? PYNN_BINARY_CROSS_ENTROPY
                                      : PYNN_MEAN_SQUARED_ERROR;
    if (!has_loss(kind)) return PYNNI_BAD(PYNN_BAD_KIND, OPTIONS_LOSS);
    needed = last_layers[kind - PYNN_SQUARED_ERROR];
    if (needed != PYNN_DENSE && needed != last) return PYNNI_BAD(PYNN_BAD_NET, OPTIONS_LOSS);
    *loss = kind;
    return PYNN_OK;
}

/* By bits, as pynni_within: finite and, if it must be, not negative. */
static int is_weight(const float *weight, int may_be_negative)
{
    uint32_t bits;
    if (sizeof *weight != sizeof bits) { /* a test is in double */
        const double size = may_be_negative && *weight < 0.0f ? -(double)*weight : (double)*weight;
        return pynni_within(size, 0.0, FLT_MAX);
    }
    memcpy(&bits, weight, sizeof bits);
    return (may_be_negative ? bits & 0x7FFFFFFFu : bits) <= 0x7F7FFFFFu || bits == 0x80000000u;
}

static int is_zero_weight(const float *weight)
{
    uint32_t bits;
    if (sizeof *weight != sizeof bits) return pynni_within((double)*weight, 0.0, 0.0);
    memcpy(&bits, weight, sizeof bits);
    return bits << 1 == 0;
}

static pynn_status check_settings(const pynn_targets *t, int32_t loss)
{
    if (t->rows == NULL && t->labels == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, TARGETS);
    if (t->labels != NULL && (t->rows != NULL || loss != PYNN_CROSS_ENTROPY))
        return PYNNI_BAD(PYNN_BAD_KIND, TARGETS_LABELS);
    if (t->same_output_weights != 0 && t->same_output_weights != 1)
        return PYNNI_BAD(PYNN_BAD_VALUE, TARGETS_SAME_OUTPUT_WEIGHTS);
    if (t->normalise < PYNN_BY_WEIGHTS || t->normalise > PYNN_BY_NUMBER)
        return PYNNI_BAD(PYNN_BAD_KIND, TARGETS_NORMALISE);
    if (t->normalise == PYNN_BY_NUMBER ? !pynni_is_positive(t->divisor) : !pynni_within(t->divisor, 0.0, 0.0))
        return PYNNI_BAD(PYNN_BAD_VALUE, TARGETS_DIVISOR);
    PYNNI_CHECK_RESERVE(t->reserved, TARGETS_RESERVED);
    return PYNN_OK;
}

static pynn_status check_strides(pynni_batch *batch, size_t data_rows, size_t outputs)
{
    const pynn_targets *t = batch->targets;
    batch->targets_stride = t->stride != 0 ? t->stride : outputs;
    if (batch->targets_stride < outputs) return PYNNI_BAD(PYNN_BAD_SIZE, TARGETS_STRIDE);
    if (t->rows != NULL && !pynni_fits(data_rows, outputs, batch->targets_stride))
        return PYNNI_BAD(PYNN_TOO_LARGE, TARGETS_STRIDE);
    batch->output_weights_stride = t->output_weights_stride != 0 ? t->output_weights_stride : outputs;
    if (batch->output_weights_stride < outputs) return PYNNI_BAD(PYNN_BAD_SIZE, TARGETS_OUTPUT_WEIGHTS_STRIDE);
    if (t->same_output_weights) batch->output_weights_stride = 0;
    if (!pynni_fits(data_rows, outputs, batch->output_weights_stride))
        return PYNNI_BAD(PYNN_TOO_LARGE, TARGETS_OUTPUT_WEIGHTS_STRIDE);
    return PYNN_OK;
}

static pynn_status check_output_weights(const pynni_batch *batch, size_t row, size_t outputs)
{
    const float *weights = batch->targets->output_weights + row * batch->output_weights_stride;
    for (size_t j = 0; j < outputs; j++)
        if (!is_weight(&weights[j], 0)) return PYNNI_BAD(PYNN_BAD_WEIGHT, TARGETS_OUTPUT_WEIGHTS);
    return PYNN_OK;
}

pynn_status pynni_loss_check(pynni_batch *batch, size_t data_rows, size_t outputs, int32_t loss)
{
    const pynn_targets *t = batch->targets;
    int output_weights = t->output_weights != NULL;
    PYNNI_TRY(check_settings(t, loss));
    PYNNI_TRY(check_strides(batch, data_rows, outputs));
    for (size_t r = 0; r < batch->rows; r++) {
        const size_t row = pynni_batch_row(batch, r);
        if (row >= data_rows) return PYNNI_BAD(PYNN_BAD_INDEX, BATCHES_ORDER);
        if (t->weights != NULL) {
            if (!is_weight(&t->weights[row], t->normalise != PYNN_BY_WEIGHTS))
                return PYNNI_BAD(PYNN_BAD_WEIGHT, TARGETS_WEIGHTS);
            if (is_zero_weight(&t->weights[row])) continue;
        }
        if (PYNNI_HAS_LOSS(PYNN_CROSS_ENTROPY) && t->labels != NULL &&
            (t->labels[row] < 0 || (size_t)t->labels[row] >= outputs))
            return PYNNI_BAD(PYNN_BAD_LABEL, TARGETS_LABELS);
        if (output_weights) PYNNI_TRY(check_output_weights(batch, row, outputs));
        output_weights &= !t->same_output_weights; /* once will do */
    }
    return PYNN_OK;
}

/* ---- weights ----------------------------------------------------------- */

int pynni_is_left_out(const pynni_batch *batch, size_t r)
{
    const float *weights = batch->targets->weights;
    return weights != NULL && is_zero_weight(&weights[pynni_batch_row(batch, r)]);
}

int pynni_all_finite(const float *x, size_t n)
{
    int finite = 1;
    for (size_t i = 0; i < n; i++) finite &= x[i] - x[i] == 0.0f;
    return finite;
}

static double weight_of(const pynni_batch *batch, size_t r)
{
    const float *weights = batch->targets->weights;
    return weights != NULL ? (double)weights[pynni_batch_row(batch, r)] : 1.0;
}

static double kappa(int32_t loss, size_t outputs)
{
    return loss == PYNN_SQUARED_ERROR ? 2.0 : loss == PYNN_MEAN_SQUARED_ERROR ? 2.0 / (double)outputs : 1.0;
}

double pynni_loss_divisor(const pynni_batch *batch)
{
    double sum = 0.0;
    if (batch->targets->normalise == PYNN_BY_NUMBER) return batch->targets->divisor;
    if (batch->targets->normalise == PYNN_BY_ROWS || batch->targets->weights == NULL) return (double)batch->rows;
    for (size_t r = 0; r < batch->rows; r++) sum += weight_of(batch, r);
    return sum;
}

void pynni_loss_scales(float *scales, const pynni_batch *batch, double divisor, size_t outputs, int32_t loss)
{
    const double factor = kappa(loss, outputs);
    for (size_t r = 0; r < batch->rows; r++) {
        if (r > 0 && batch->targets->weights == NULL) scales[r] = scales[0];
        else scales[r] = pynni_is_positive(divisor) ? (float)(factor * weight_of(batch, r) / divisor) : 0.0f;
    }
}

/* ---- values and gradients ---------------------------------------------- */

void pynni_loss_block(const pynni_kernels *kernels, float *losses, float *ds, const float *y, const pynni_batch *batch,
                      const float *scales, size_t first, size_t rows, size_t outputs, int32_t loss)
{
    const pynn_targets *t = batch->targets;
    const size_t skip = batch->order != NULL ? 0 : batch->first + first;
    const pynni_goal goal = {
        .rows = t->rows != NULL ? t->rows + skip * batch->targets_stride : NULL,
        .labels = t->labels != NULL ? t->labels + skip : NULL,
        .output_weights = t->output_weights != NULL ? t->output_weights + skip * batch->output_weights_stride : NULL,
        .order = batch->order != NULL ? batch->order + first : NULL,
        .stride = batch->targets_stride,
        .output_weights_stride = batch->output_weights_stride};
    const float divisor = loss == PYNN_MEAN_SQUARED_ERROR   ? (float)outputs
                          : loss == PYNN_HALF_SQUARED_ERROR ? 2.0f
                                                            : 1.0f;
    PYNNI_KERNEL(kernels, losses)[loss - PYNN_SQUARED_ERROR](losses, ds, y, &goal, scales + first, rows, outputs,
                                                             divisor);
    for (size_t r = 0; ds != NULL && t->weights != NULL && r < rows; r++)
        if (pynni_is_left_out(batch, first + r)) memset(ds + r * outputs, 0, outputs * sizeof *ds);
}

double pynni_loss_total(double total, const float *losses, const pynni_batch *batch)
{
    const int weighted = batch->targets->weights != NULL;
    for (size_t r = 0; r < batch->rows; r++) {
        if (!weighted) total += (double)losses[r];
        else if (!pynni_is_left_out(batch, r)) total += weight_of(batch, r) * (double)losses[r];
    }
    return total;
}

pynn_status pynn_loss(double *loss, float *losses, float *ds, const float *y, const pynn_data *data, size_t outputs,
                      int32_t kind)
{
    pynni_batch batch = {0};
    double divisor;
    pynni_call call;
    PYNNI_TRY(pynni_check_data_fields(data));
    batch.targets = &data->targets;
    batch.rows = data->rows;
    if (loss == NULL || (batch.rows > 0 && losses == NULL)) return PYNNI_BAD(PYNN_NULL_POINTER, OUTPUT);
    if (batch.rows > 0 && y == NULL) return PYNNI_BAD(PYNN_NULL_POINTER, INPUT);
    if (outputs == 0) return PYNNI_BAD(PYNN_BAD_SIZE, SIZE);
    if (!pynni_fits(batch.rows, outputs, 0)) return PYNNI_BAD(PYNN_TOO_LARGE, DATA_ROWS);
    if (!has_loss(kind)) return PYNNI_BAD(PYNN_BAD_KIND, KIND);
    PYNNI_TRY(pynni_loss_check(&batch, batch.rows, outputs, kind));
    PYNNI_TRY(pynni_enter(&call));
    divisor = pynni_loss_divisor(&batch);
    pynni_loss_scales(losses, &batch, divisor, outputs, kind);
    if (ds != NULL && !pynni_is_positive(divisor)) memset(ds, 0, batch.rows * outputs * sizeof *ds);
    pynni_loss_block(call.kernels, losses, pynni_is_positive(divisor) ? ds : NULL, y, &batch, losses, 0, batch.rows,
                     outputs, kind);
    *loss = pynni_is_positive(divisor) ? pynni_loss_total(0.0, losses, &batch) / divisor : 0.0;
    pynni_leave(&call);
    return PYNN_OK;
}

#endif
