/*
 * Private: what the files of the library share. The order is that of pynn.h.
 * Letters: B batch rows, I inputs, O outputs of a layer.
 */
#ifndef PYNN_INTERNAL_H
#define PYNN_INTERNAL_H

#include "arith.h"

#include "pynn.h"

#define PYNNI_TRY(expression)                          \
    do {                                               \
        pynn_status status_ = (expression);            \
        if (status_ != PYNN_OK) return status_;        \
    } while (0)

#define PYNNI_BLOCK 256u      /* rule 2: terms of one fma chain */
#define PYNNI_PANEL 64u       /* packed matrices have their columns rounded up to it */
#define PYNNI_CHUNK 4096u     /* rule 7: terms of one sum of squares */
#define PYNNI_WORDS 64u       /* rule 10: random words made at once */
#define PYNNI_ROW_BLOCK 192u  /* rows that hide the reading of a layer's weights, and stay in cache themselves */
#define PYNNI_COPY_STRIDE 272u /* floats from row to row of a copied block */

/* ---- executor ---------------------------------------------------------- */

/* PYNN_OK, or what is wrong with an executor, which may be NULL. */
pynn_status pynni_check_executor(const pynn_executor *executor);

size_t pynni_workers(const pynn_executor *executor);

/* Runs the task for every worker, each in the floating-point environment of rule 1. */
void pynni_run(const pynn_executor *executor, void (*task)(void *argument, size_t worker), void *argument);

/* The part of 0 .. n that is a worker's: *first .. *end. */
void pynni_share(size_t *first, size_t *end, size_t n, size_t worker, size_t workers);

/* ---- net: sizes -------------------------------------------------------- */

/* Sums of float counts that stick at SIZE_MAX instead of wrapping around. */
size_t pynni_add(size_t a, size_t b);
size_t pynni_mul(size_t a, size_t b);
size_t pynni_pad(size_t floats); /* up to a whole cache line */

/* Whether 0 <= least <= x <= most, by bits: arguments are checked in the caller's floating-point environment, which may
 * flush subnormals or trap NaN. */
int pynni_within(double x, double least, double most);

/* The largest number below 1, and the largest dropout probability that keeps anything (rule 10). */
#define PYNNI_BELOW_ONE 0x1.fffffffffffffp-1
#define PYNNI_MOST_DROPOUT 0x1.fffefffffffffp-1

/* PYNN_OK, or what is wrong with a net that pynn_net_init has not made. */
pynn_status pynni_check_net(const pynn_net *net);

/* Floats in bytes, or PYNN_TOO_LARGE. */
pynn_status pynni_bytes(size_t *bytes, size_t floats);

/* PYNN_OK, or why `floats` floats cannot be had from the workspace. */
pynn_status pynni_check_workspace(const void *workspace, size_t workspace_bytes, size_t floats);

/* PYNN_OK if `rows` rows of `width` floats `stride` apart can be addressed. */
pynn_status pynni_check_rows(size_t rows, size_t width, size_t stride);

/*
 * The unit of a pass: a dense layer with the activation behind it, or one other layer. A walk over the nodes
 * carries the offsets, in floats, of what belongs to each of them.
 */
typedef struct pynni_node {
    size_t begin, end;      /* its layers */
    int32_t kind;           /* of the first of them */
    int32_t activation;     /* PYNN_IDENTITY .. PYNN_SILU; of a dense layer, the one that follows */
    double value;           /* slope, or dropout probability */
    size_t inputs, outputs;
    size_t params;          /* W, in the flat parameters */
    size_t copy;            /* W transposed (O, I) and packed, among the copies */
    size_t kept;            /* its rows (B, O), then the gradient of what is before its activation (B, O) */
    size_t packed;          /* that gradient packed, if it is wide */
    uint32_t dropouts;      /* dropout layers before it */
} pynni_node;

/* The layers of a pass that ends there. */
size_t pynni_layers_until(const pynn_net *net, int32_t end);

/* Each gives 0 when there is no such node. `layers` is pynni_layers_until, rows the batch. */
int pynni_node_first(pynni_node *node, const pynn_net *net, size_t layers, size_t rows);
int pynni_node_next(pynni_node *node, const pynn_net *net, size_t layers, size_t rows);
int pynni_node_previous(pynni_node *node, const pynn_net *net, size_t layers, size_t rows);
void pynni_node_last(pynni_node *node, const pynn_net *net, size_t layers, size_t rows);

/* Floats of a packed matrix (k, n). */
size_t pynni_packed(size_t k, size_t n);

/* Whether a matrix of so many columns is better packed before it is used. */
int pynni_is_wide(size_t columns);

/* The rows that go through the layers together, at most PYNNI_ROW_BLOCK: so many that all blocks are of a size. */
size_t pynni_row_block(size_t rows);

/* Rows of a weight gradient (I, outputs) that stand in the first-level cache between product and update. */
size_t pynni_strip_rows(size_t inputs, size_t outputs);

/* What a pass over a batch needs besides the parameters, each from a cache line of its own. */
typedef struct pynni_map {
    float *kept;         /* of every node: rows (B, O), and their gradient (B, O) */
    float *packed;       /* of every wide node: that gradient, packed */
    float *copies;       /* of every dense layer: W transposed (O, I), packed */
    float *losses;       /* (B) */
    float *scales;       /* (B) */
    float *own;          /* of every worker, own_floats apart: */
    size_t own_floats;
    size_t own_scratch;  /* from here PYNNI_SCRATCH, if a layer is wide; before it (row block, widest) */
    size_t own_strip;    /* from here whole rows of a weight gradient */
    float *gathered;     /* (B, I); training */
    float *grads;        /* as the parameters; training with clipping */
} pynni_map;

/* Lays the map out from workspace, and gives its length in floats; with workspace NULL only that. */
size_t pynni_map_pass(pynni_map *map, void *workspace, const pynn_net *net, size_t rows, size_t workers);
size_t pynni_map_train(pynni_map *map, void *workspace, const pynn_net *net, size_t rows, size_t workers, int clips);

/* The same for pynn_predict, of any number of rows: of every worker, two row blocks to alternate between, then scratch. */
size_t pynni_map_predict(pynni_map *map, void *workspace, const pynn_net *net, size_t workers);

/* ---- kernels ----------------------------------------------------------- */

/* What becomes of a finished sum: nothing; relu; flush (rule 6); flush, then the derivative of a relu. */
enum { PYNNI_FINISH_PLAIN, PYNNI_FINISH_RELU, PYNNI_FINISH_FLUSH, PYNNI_FINISH_FLUSH_RELU };

/* Floats for a block of b, packed, and one of a. */
#define PYNNI_SCRATCH (PYNNI_BLOCK * PYNNI_PANEL + PYNNI_ROW_BLOCK * PYNNI_COPY_STRIDE)

/*
 * c (m, n) = start + a b by rule 2. Element (i, k) of a is a[i a_row + k a_k]; c has dense columns. b (k, n) is plain,
 * with dense columns, or packed (b_panel > 0): panels of kernels->panel columns, each (k, panel) and b_panel floats long.
 */
typedef struct pynni_gemm {
    float *c;
    const float *a;
    const float *b;
    float *scratch;     /* PYNNI_SCRATCH floats: a and a plain b are copied on the way; m <= PYNNI_ROW_BLOCK then, and
                           a_row or a_k is 1. Or NULL */
    const float *start; /* (n), or NULL for +0 */
    const float *relu;  /* PYNNI_FINISH_FLUSH_RELU: outputs of that relu, (m, n) with the stride of c */
    size_t c_stride, a_row, a_k;
    size_t b_stride, b_panel;
    size_t m, n, k;
    int32_t finish;
} pynni_gemm;

/* The targets of a row block; row r is row order[r] of the caller's arrays, or r itself where order is NULL. */
typedef struct pynni_goal {
    const float *rows;
    const int32_t *labels;
    const uint32_t *order;
    size_t stride;
} pynni_goal;

/* Rule 7: the scalars of one optimizer step, each rounded once. */
typedef struct pynni_rates {
    float clip;               /* factor of g, 1 without clipping */
    float decay;              /* L2: g + decay w; 0 for biases */
    float shrink;             /* AdamW: factor of w; 1 for biases */
    float rate;               /* SGD: learning rate; Adam: l */
    float momentum;
    float beta1, rest1;       /* b1, 1 - b1 */
    float beta2, rest2;
    float epsilon;
} pynni_rates;

enum { PYNNI_ACTIVATIONS = PYNN_SILU + 1 - PYNN_IDENTITY };
enum { PYNNI_RULE_SGD, PYNNI_RULE_MOMENTUM, PYNNI_RULE_NESTEROV, PYNNI_RULE_ADAM, PYNNI_RULES };

/* Updates n parameters; m and v are the moments, unused ones are NULL. Gives 0 if a new parameter is not finite. */
typedef int pynni_rule(float *w, float *m, float *v, const float *g, size_t n, const pynni_rates *rates);

/* The loss of rows and its gradient ds = dloss/dy times scale[r], by rules 5 and 6; ds may be NULL, losses may be scale.
 * divisor is that of a squared error's value. */
typedef void pynni_loss_rows(float *losses, float *ds, const float *y, const pynni_goal *goal, const float *scale,
                             size_t rows, size_t outputs, float divisor);

/* One instruction set. Arrays have any alignment; elementwise ones may be worked on in place. */
typedef struct pynni_kernels {
    int32_t isa;
    size_t panel; /* columns of a packed panel, a divisor of PYNNI_PANEL */
    void (*gemm)(const pynni_gemm *g);
    /* b (k, n) packed, from in (k, n) with a stride; or from in (n, k) dense, turned over */
    void (*pack)(float *b, size_t b_panel, const float *in, size_t stride, size_t k, size_t n);
    void (*pack_turned)(float *b, const float *in, size_t k, size_t n);
    void (*forward[PYNNI_ACTIVATIONS])(float *a, const float *s, size_t n, float slope);
    /* kept is s where pynni_keeps_score, else a; the result is flushed */
    void (*backward[PYNNI_ACTIVATIONS])(float *ds, const float *da, const float *kept, size_t n, float slope);
    void (*softmax_forward)(float *h, const float *s, size_t rows, size_t width);
    void (*softmax_backward)(float *ds, const float *dh, const float *h, size_t rows, size_t width);
    pynni_loss_rows *squared_error;
    pynni_loss_rows *cross_entropy;
    pynni_loss_rows *binary_cross_entropy;
    pynni_rule *rules[PYNNI_RULES];
    float (*sum_of_squares)(const float *x, size_t n); /* rule 3 */
    float (*sqrt)(float x);
    void (*words)(uint32_t words[PYNNI_WORDS], uint64_t chunk, uint64_t seed, uint32_t step, uint32_t stream);
    void (*uniform)(float *out, const uint32_t *words, size_t n, float a); /* on (-a, a), from n words */
    void (*normal)(float *out, const uint32_t *words, size_t n, float deviation); /* from 2 n words */
    /* y = x scale where half word first + i of the words is at least the threshold, else 0; n elements */
    void (*dropout)(float *y, const float *x, const uint32_t *words, size_t first, size_t n, uint32_t threshold,
                    float scale);
} pynni_kernels;

extern const pynni_kernels pynni_kernels_scalar;
extern const pynni_kernels pynni_kernels_sse2;
extern const pynni_kernels pynni_kernels_avx2;
extern const pynni_kernels pynni_kernels_avx512;
extern const pynni_kernels pynni_kernels_neon;

/* Whether the backward pass of an activation reads its score rather than its output. */
int pynni_keeps_score(int32_t activation);

/* ---- random ------------------------------------------------------------ */

enum { PYNNI_STREAM_INIT = 0, PYNNI_STREAM_SHUFFLE = 1, PYNNI_STREAM_DROPOUT = 2 };

/* y = x times the dropout mask, for rows first .. first + rows of the batch. */
void pynni_dropout(const pynni_kernels *kernels, float *y, const float *x, const pynn_mask *mask, size_t first,
                   size_t rows, size_t width, double p);

/* ---- layers ------------------------------------------------------------ */

/* dw (I, O) rows first .. first + count; x (B, I) with a stride, ds (B, O), packed or not. */
void pynni_dense_weight_grad(const pynni_kernels *kernels, float *dw, const float *ds, int ds_is_packed, const float *x,
                             size_t x_stride, size_t rows, size_t outputs, size_t first, size_t count, float *scratch);

/* dx (B, I) = ds W^T flushed, from W turned over and packed, times the derivative of a relu whose outputs are given. */
void pynni_dense_input_grad(const pynni_kernels *kernels, float *dx, const float *ds, const float *turned,
                            const float *relu, size_t rows, size_t inputs, size_t outputs, float *scratch);
void pynni_dense_bias_grad(const pynni_kernels *kernels, float *db, const float *ds, size_t rows, size_t outputs);

/* ---- loss -------------------------------------------------------------- */

/* A batch: its rows are rows order[0 .. rows) of the caller's arrays, or the first `rows` where order is NULL. */
typedef struct pynni_batch {
    const float *x;
    size_t x_stride;
    const pynn_targets *targets;
    const uint32_t *order;
    size_t rows;
} pynni_batch;

/* Refuses what the loss cannot take: kind, head of the net, labels, weights, indices. */
pynn_status pynni_loss_check(const pynn_targets *targets, const uint32_t *order, size_t rows, size_t data_rows,
                             size_t outputs, int32_t loss_kind);
pynn_status pynni_loss_check_net(const pynn_net *net, int32_t loss_kind);

/* Where the pass under this loss ends. */
int32_t pynni_loss_end(int32_t loss_kind);

/* Rule 5: the sum of the weights, and the factor c_r of every row of the gradient, given that of the whole batch. */
double pynni_loss_weight(const pynni_batch *batch);
void pynni_loss_scales(float *scales, const pynni_batch *batch, double weight, size_t outputs, int32_t loss_kind);

/* losses and ds of rows first .. first + rows of the batch; y and ds start at row first. */
void pynni_loss_block(const pynni_kernels *kernels, float *losses, float *ds, const float *y, const pynni_batch *batch,
                      const float *scales, size_t first, size_t rows, size_t outputs, int32_t loss_kind);

/* total plus w_r losses_r in row order. */
double pynni_loss_total(double total, const float *losses, const pynni_batch *batch);

/* ---- optimizer --------------------------------------------------------- */

/* An optimizer step under way. */
typedef struct pynni_step {
    pynni_rule *rule;
    pynni_rates rates;  /* of weights; biases take neither decay nor shrink */
    float *params, *m, *v;
} pynni_step;

pynn_status pynni_optimizer_check(const pynn_optimizer *optimizer);

/* Whether it clips gradients; whether a number can be a learning rate, and a state one of training. */
int pynni_clips(const pynn_optimizer *optimizer);
int pynni_is_rate(double learning_rate);
int pynni_is_state(const pynn_state *state);

/* Moment arrays that it keeps. */
size_t pynni_moments(const pynn_optimizer *optimizer);

/* Advances state by one step and computes its scalars. */
void pynni_step_begin(pynni_step *step, pynn_state *state, const pynni_kernels *kernels, const pynn_optimizer *optimizer,
                      float *params, float *moments, size_t param_count, double learning_rate);

/* Parameters offset .. offset + n, whose gradient is g. Gives 0 if a new parameter is not finite. */
int pynni_step_apply(const pynni_step *step, const float *g, size_t offset, size_t n, int is_bias);

/* All parameters of a net; gives the layer whose new parameters are not finite, or net->layer_count. */
size_t pynni_step_apply_all(const pynni_step *step, const float *grads, const pynn_net *net);

/* Rule 7: the factor that brings a gradient down to the given norm. */
float pynni_clip_factor(const pynni_kernels *kernels, const float *grads, size_t n, double clip_norm);

/* ---- pass -------------------------------------------------------------- */

/* The arrays of a pass over one batch. */
typedef struct pynni_pass {
    const pynni_kernels *kernels;
    const pynn_net *net;
    const float *params;
    const float *x;        /* (B, I) */
    size_t x_stride;
    const pynn_mask *mask; /* NULL: no dropout */
    size_t layers;         /* pynni_layers_until */
    size_t rows;           /* B */
    size_t rows_before;    /* of the batch of which these are a part, for the mask */
    const pynn_executor *executor;
    pynni_map map;
} pynni_pass;

/* Batch rows first .. first + rows through all nodes. */
void pynni_pass_forward(const pynni_pass *pass, size_t worker, size_t first, size_t rows);

/* The rows that came out, from row first, and in *drows where their gradient may be put. */
float *pynni_pass_rows(const pynni_pass *pass, size_t worker, size_t first, float **drows);

/* The transposed weights that pynni_pass_backward needs. */
void pynni_pass_turn(const pynni_pass *pass, int with_dx);

/* The facing function: from drows (rows, O), the gradient of the rows that came out, to the gradient of every node's
 * score, and to dx (rows, I) unless that is NULL. */
void pynni_pass_backward(const pynni_pass *pass, size_t worker, float *dx, const float *drows, size_t first, size_t rows);

/* From the gradients of the scores to those of all parameters. */
void pynni_pass_grads(const pynni_pass *pass, float *grads);

/* The same, each strip of a gradient handed to the update while it is in cache. Gives the layer whose new parameters are
 * not finite, or the number of layers. */
size_t pynni_pass_learn(const pynni_pass *pass, const pynni_step *step);

/* ---- dispatch ---------------------------------------------------------- */

/* Every public function that computes stands between these two: they give the kernels and set the floating-point
 * environment of rule 1, and restore the caller's. */
typedef struct pynni_call {
    const pynni_kernels *kernels;
    uint64_t environment;
} pynni_call;
pynn_status pynni_enter(pynni_call *call);
void pynni_leave(const pynni_call *call);

#endif
