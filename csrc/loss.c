/* Losses of a batch and their gradients. */
#include "internal.h"

#include <string.h>

static int is_cross_entropy(int32_t kind) { return kind == PYNN_CROSS_ENTROPY || kind == PYNN_BINARY_CROSS_ENTROPY; }

int32_t pynni_loss_end(int32_t loss_kind) { return is_cross_entropy(loss_kind) ? PYNN_SCORES : PYNN_OUTPUTS; }

pynn_status pynni_loss_check_net(const pynn_net *net, int32_t loss_kind)
{
    int32_t last = net->layers[net->layer_count - 1].kind;
    if (loss_kind == PYNN_CROSS_ENTROPY && last != PYNN_SOFTMAX) return PYNN_BAD_NET;
    if (loss_kind == PYNN_BINARY_CROSS_ENTROPY && last != PYNN_SIGMOID) return PYNN_BAD_NET;
    return PYNN_OK;
}

/* Finite and not negative, by bits as pynni_within. */
static int is_weight(const float *weight)
{
    uint32_t bits;
    if (sizeof *weight != sizeof bits) return pynni_within((double)*weight, 0.0, FLT_MAX); /* a test is in double */
    memcpy(&bits, weight, sizeof bits);
    return bits <= 0x7F7FFFFFu || bits == 0x80000000u;
}

pynn_status pynni_loss_check(const pynn_targets *targets, const uint32_t *order, size_t rows, size_t data_rows,
                             size_t outputs, int32_t loss_kind)
{
    if (loss_kind < PYNN_SQUARED_ERROR || loss_kind > PYNN_BINARY_CROSS_ENTROPY) return PYNN_BAD_KIND;
    if (targets == NULL || (targets->rows == NULL && targets->labels == NULL)) return PYNN_NULL_POINTER;
    if (targets->labels != NULL && (targets->rows != NULL || loss_kind != PYNN_CROSS_ENTROPY)) return PYNN_BAD_KIND;
    if (targets->rows != NULL) PYNNI_TRY(pynni_check_rows(data_rows, outputs, targets->stride));
    for (size_t r = 0; r < rows; r++) {
        size_t row = order != NULL ? order[r] : r;
        if (row >= data_rows) return PYNN_BAD_INDEX;
        if (targets->labels != NULL && (targets->labels[row] < 0 || (size_t)targets->labels[row] >= outputs))
            return PYNN_BAD_LABEL;
        if (targets->weights != NULL && !is_weight(&targets->weights[row])) return PYNN_BAD_WEIGHT;
    }
    return PYNN_OK;
}

static size_t row_of(const pynni_batch *batch, size_t r) { return batch->order != NULL ? batch->order[r] : r; }

static double weight_of(const pynni_batch *batch, size_t r)
{
    const float *weights = batch->targets->weights;
    return weights != NULL ? (double)weights[row_of(batch, r)] : 1.0;
}

static double kappa(int32_t loss_kind, size_t outputs)
{
    switch (loss_kind) {
    case PYNN_SQUARED_ERROR:
        return 2.0;
    case PYNN_MEAN_SQUARED_ERROR:
        return 2.0 / (double)outputs;
    default:
        return 1.0;
    }
}

double pynni_loss_weight(const pynni_batch *batch)
{
    double sum = 0.0;
    if (batch->targets->weights == NULL) return (double)batch->rows; /* the same bits: whole numbers are exact */
    for (size_t r = 0; r < batch->rows; r++) sum += weight_of(batch, r);
    return sum;
}

void pynni_loss_scales(float *scales, const pynni_batch *batch, double weight, size_t outputs, int32_t loss_kind)
{
    const double factor = kappa(loss_kind, outputs);
    for (size_t r = 0; r < batch->rows; r++) {
        if (r > 0 && batch->targets->weights == NULL) scales[r] = scales[0];
        else scales[r] = weight > 0.0 ? (float)(factor * weight_of(batch, r) / weight) : 0.0f;
    }
}

void pynni_loss_block(const pynni_kernels *kernels, float *losses, float *ds, const float *y, const pynni_batch *batch,
                      const float *scales, size_t first, size_t rows, size_t outputs, int32_t loss_kind)
{
    const pynn_targets *t = batch->targets;
    const size_t skip = batch->order != NULL ? 0 : first;
    const pynni_goal goal = {.rows = t->rows != NULL ? t->rows + skip * t->stride : NULL,
                             .labels = t->labels != NULL ? t->labels + skip : NULL,
                             .order = batch->order != NULL ? batch->order + first : NULL,
                             .stride = t->stride};
    const float divisor = loss_kind == PYNN_MEAN_SQUARED_ERROR   ? (float)outputs
                          : loss_kind == PYNN_HALF_SQUARED_ERROR ? 2.0f
                                                                 : 1.0f;
    pynni_loss_rows *rows_of = loss_kind == PYNN_CROSS_ENTROPY          ? kernels->cross_entropy
                               : loss_kind == PYNN_BINARY_CROSS_ENTROPY ? kernels->binary_cross_entropy
                                                                        : kernels->squared_error;
    rows_of(losses, ds, y, &goal, scales + first, rows, outputs, divisor);
}

double pynni_loss_total(double total, const float *losses, const pynni_batch *batch)
{
    for (size_t r = 0; r < batch->rows; r++) total += weight_of(batch, r) * (double)losses[r];
    return total;
}

pynn_status pynn_loss(double *loss, float *losses, float *ds, const float *y, const pynn_targets *targets, size_t rows,
                      size_t outputs, int32_t kind)
{
    const pynni_batch batch = {.targets = targets, .rows = rows};
    double sum;
    pynni_call call;
    if (loss == NULL || (rows > 0 && (losses == NULL || y == NULL))) return PYNN_NULL_POINTER;
    if (outputs == 0) return PYNN_BAD_SIZE;
    PYNNI_TRY(pynni_check_rows(rows, outputs, outputs));
    PYNNI_TRY(pynni_loss_check(targets, NULL, rows, rows, outputs, kind));
    PYNNI_TRY(pynni_enter(&call));
    sum = pynni_loss_weight(&batch);
    pynni_loss_scales(losses, &batch, sum, outputs, kind);
    if (ds != NULL && !(sum > 0.0)) memset(ds, 0, rows * outputs * sizeof *ds);
    pynni_loss_block(call.kernels, losses, sum > 0.0 ? ds : NULL, y, &batch, losses, 0, rows, outputs, kind);
    *loss = sum > 0.0 ? pynni_loss_total(0.0, losses, &batch) / sum : 0.0;
    pynni_leave(&call);
    return PYNN_OK;
}
