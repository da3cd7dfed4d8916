/*
 * Private: what the files of the library share. The order is that of pynn.h.
 * Letters: B batch rows, I inputs, O outputs of a layer.
 */
#ifndef PYNN_INTERNAL_H
#define PYNN_INTERNAL_H

#include "arith.h"

#include "kinds.h"

#define PYNNI_TRY(expression)                          \
    do {                                               \
        pynn_status status_ = (expression);            \
        if (status_ != PYNN_OK) return status_;        \
    } while (0)

#define PYNNI_BLOCK 256u       /* rule 2: terms of one fma chain */
#define PYNNI_CHUNK 4096u      /* rule 7: terms of one sum of squares */
#define PYNNI_WORDS 64u        /* rule 10: random words made at once */
#define PYNNI_ROW_BLOCK 192u   /* rows that hide the reading of a layer's weights, and stay in cache themselves */
#define PYNNI_COPY_STRIDE 272u /* floats from row to row of a copied block */
#define PYNNI_PACK_ROWS 16u    /* a block of weights that so many rows use pays for being packed */

/* ---- status ------------------------------------------------------------ */

/* The arguments that a refusal can name. */
#define PYNNI_ARGUMENT_LIST(X)                                                                                  \
    X(NONE, "")                                                                                                 \
    X(OUTPUT, "output")                                                                                         \
    X(INPUT, "input")                                                                                           \
    X(SIZE, "size")                                                                                             \
    X(KIND, "kind")                                                                                             \
    X(MEMORY, "memory")                                                                                         \
    X(LAYERS, "layers")                                                                                         \
    X(LAYER, "layer")                                                                                           \
    X(LAYER_KIND, "layer.kind")                                                                                 \
    X(LAYER_INIT, "layer.init")                                                                                 \
    X(LAYER_INPUTS, "layer.inputs")                                                                             \
    X(LAYER_OUTPUTS, "layer.outputs")                                                                           \
    X(LAYER_SLOPE, "layer.slope")                                                                               \
    X(LAYER_P, "layer.p")                                                                                       \
    X(LAYER_UNUSED, "layer.epsilon, deviation, rate_factor, flags, bins, reserved")                             \
    X(NET, "net")                                                                                               \
    X(MODEL, "model")                                                                                           \
    X(MODEL_CONSTANTS, "model.constants")                                                                       \
    X(MODEL_RESERVED, "model.reserved")                                                                         \
    X(PARAMS, "params")                                                                                         \
    X(PLAN, "plan")                                                                                             \
    X(DATA, "data")                                                                                             \
    X(DATA_X, "data.x")                                                                                         \
    X(DATA_ROWS, "data.rows")                                                                                   \
    X(DATA_STRIDE, "data.stride")                                                                               \
    X(DATA_TYPE, "data.type")                                                                                   \
    X(DATA_RESERVED, "data.reserved")                                                                           \
    X(DATA_COUNT, "data_count")                                                                                 \
    X(TARGETS, "targets")                                                                                       \
    X(TARGETS_STRIDE, "targets.stride")                                                                         \
    X(TARGETS_LABELS, "targets.labels")                                                                         \
    X(TARGETS_WEIGHTS, "targets.weights")                                                                       \
    X(TARGETS_OUTPUT_WEIGHTS, "targets.output_weights")                                                         \
    X(TARGETS_OUTPUT_WEIGHTS_STRIDE, "targets.output_weights_stride")                                           \
    X(TARGETS_SAME_OUTPUT_WEIGHTS, "targets.same_output_weights")                                               \
    X(TARGETS_NORMALISE, "targets.normalise")                                                                   \
    X(TARGETS_DIVISOR, "targets.divisor")                                                                       \
    X(TARGETS_RESERVED, "targets.reserved")                                                                     \
    X(OPTIONS_END, "options.end")                                                                               \
    X(OPTIONS_LOSS, "options.loss")                                                                             \
    X(OPTIONS_Y_STRIDE, "options.y_stride")                                                                     \
    X(OPTIONS_MASK, "options.mask")                                                                             \
    X(OPTIONS_RESERVED, "options.reserved")                                                                     \
    X(MASK, "mask")                                                                                             \
    X(EXECUTOR, "executor")                                                                                     \
    X(OPTIMIZER, "optimizer")                                                                                   \
    X(OPTIMIZER_KIND, "optimizer.kind")                                                                         \
    X(OPTIMIZER_NESTEROV, "optimizer.nesterov")                                                                 \
    X(OPTIMIZER_LEARNING_RATE, "optimizer.learning_rate")                                                       \
    X(OPTIMIZER_MOMENTUM, "optimizer.momentum")                                                                 \
    X(OPTIMIZER_BETA, "optimizer.beta1, beta2")                                                                 \
    X(OPTIMIZER_EPSILON, "optimizer.epsilon")                                                                   \
    X(OPTIMIZER_WEIGHT_DECAY, "optimizer.weight_decay")                                                         \
    X(OPTIMIZER_CLIP_NORM, "optimizer.clip_norm")                                                               \
    X(OPTIMIZER_RESERVED, "optimizer.reserved")                                                                 \
    X(TRAINER, "trainer")                                                                                       \
    X(TRAINER_LOSS, "trainer.loss")                                                                             \
    X(TRAINER_SHARDS, "trainer.shards")                                                                         \
    X(TRAINER_PARAMS, "trainer.params")                                                                         \
    X(TRAINER_MOMENTS, "trainer.moments")                                                                       \
    X(TRAINER_AVERAGE, "trainer.average, best")                                                                 \
    X(TRAINER_STATE, "trainer.state")                                                                           \
    X(TRAINER_RESERVED, "trainer.reserved")                                                                     \
    X(BATCHES, "batches")                                                                                       \
    X(BATCHES_ORDER, "batches.order")                                                                           \
    X(BATCHES_COUNT, "batches.count")                                                                           \
    X(BATCHES_LEARNING_RATES, "batches.learning_rates")                                                         \
    X(BATCHES_RESERVED, "batches.reserved")                                                                     \
    X(LEARNING_RATE, "learning_rate")                                                                           \
    X(LEARNER, "learner")                                                                                       \
    X(GRADS, "grads")                                                                                           \
    X(DY, "dy")                                                                                                 \
    X(TAPE, "tape")                                                                                             \
    X(ACCUMULATION, "accumulation")                                                                             \
    X(DENSE, "dense")                                                                                           \
    X(P, "p")                                                                                                   \
    X(ISA, "isa")

#define PYNNI_ARGUMENT_NAME(name, text) PYNNI_AT_##name,
enum { PYNNI_ARGUMENT_LIST(PYNNI_ARGUMENT_NAME) PYNNI_ARGUMENTS };

/* A refusal, with the argument that is refused. */
#define PYNNI_BAD(code, argument) ((pynn_status)((uint32_t)(code) | (uint32_t)PYNNI_AT_##argument << 8))

/* PYNN_OK, or the refusal of a reserve that is not 0. */
#define PYNNI_CHECK_RESERVE(array, argument) \
    PYNNI_TRY(pynni_is_zero(array, sizeof(array) / sizeof *(array)) ? PYNN_OK : PYNNI_BAD(PYNN_BAD_VALUE, argument))
static inline int pynni_is_zero(const uint64_t *words, size_t n)
{
    uint64_t any = 0;
    for (size_t i = 0; i < n; i++) any |= words[i];
    return any == 0;
}

/* ---- executor ---------------------------------------------------------- */

/* PYNN_OK, or what is wrong with an executor, which may be NULL. */
pynn_status pynni_check_executor(const pynn_executor *executor);

/* pynni_run runs the task for every worker, each in the floating-point environment of rule 1. PYNN_BAD_EXECUTOR where
 * not every worker has run exactly once. pynni_split gives the numbers *first .. *end of 0 .. n that are a worker's.
 * Without threads the compiler sees that there is one worker. */
#ifdef PYNN_WITHOUT_THREADS
static inline size_t pynni_workers(const pynn_executor *executor)
{
    (void)executor;
    return 1;
}
static inline pynn_status pynni_run(const pynn_executor *executor, void (*task)(void *argument, size_t worker),
                                    void *argument)
{
    (void)executor;
    task(argument, 0);
    return PYNN_OK;
}
static inline void pynni_split(size_t *first, size_t *end, size_t n, size_t worker, size_t workers)
{
    (void)worker, (void)workers;
    *first = 0;
    *end = n;
}
#else
size_t pynni_workers(const pynn_executor *executor);
pynn_status pynni_run(const pynn_executor *executor, void (*task)(void *argument, size_t worker), void *argument);
void pynni_split(size_t *first, size_t *end, size_t n, size_t worker, size_t workers);
#endif

/* ---- net: sizes -------------------------------------------------------- */

/* Sums and products that stick at SIZE_MAX instead of wrapping around. */
size_t pynni_add(size_t a, size_t b);
size_t pynni_mul(size_t a, size_t b);
size_t pynni_pad(size_t floats); /* up to a whole cache line */
static inline size_t pynni_larger(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t pynni_smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Whether 0 <= least <= x <= most, by bits: arguments are checked in the caller's floating-point environment, which may
 * flush subnormals or trap NaN. */
int pynni_within(double x, double least, double most);

/* Whether a double is above 0 and finite; by bits too, which costs less than arithmetic where there is no unit for
 * it. */
int pynni_is_positive(double x);

/* The largest number below 1, and the largest dropout probability that keeps anything (rule 10). */
#define PYNNI_BELOW_ONE 0x1.fffffffffffffp-1
#define PYNNI_MOST_DROPOUT 0x1.fffefffffffffp-1

/* PYNN_OK, or what is wrong with a net: pynn_net_init has not made it, or its layers are others now. */
pynn_status pynni_check_net(const pynn_net *net);

/* PYNN_OK, or what is wrong with a layer. */
pynn_status pynni_check_layer(const pynn_layer *layer);

/* Floats in bytes, or PYNN_TOO_LARGE. */
pynn_status pynni_bytes(size_t *bytes, size_t floats);

/* Whether two pieces of memory have a byte in common. */
int pynni_have_common_bytes(const void *a, size_t a_bytes, const void *b, size_t b_bytes);

/* PYNN_OK, or why `floats` floats cannot be had from the memory. */
pynn_status pynni_check_memory(pynn_memory memory, size_t floats);

/* Whether `rows` rows of `width` floats `stride` apart can be addressed. */
int pynni_fits(size_t rows, size_t width, size_t stride);

/* ---- kernels ----------------------------------------------------------- */

/* What becomes of a finished sum: nothing; relu; flush (rule 6); flush, then the derivative of a relu. */
enum { PYNNI_FINISH_PLAIN, PYNNI_FINISH_RELU, PYNNI_FINISH_FLUSH, PYNNI_FINISH_FLUSH_RELU };

/* Floats for a block of b, packed, and one of a. */
#define PYNNI_SCRATCH (PYNNI_BLOCK * PYNNI_PANEL + PYNNI_ROW_BLOCK * PYNNI_COPY_STRIDE)

/*
 * c (m, n) = start + a b by rule 2. Element (i, k) of a is a[i a_row + k a_k]; rows of c are dense. b (k, n) is plain,
 * with dense rows, or packed (b_panel > 0): panels of kernels->panel columns, each (k, panel) and b_panel floats long.
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

/* The targets of a row block; row r is row order[r] of the caller's arrays, or r itself where order is NULL. Labels
 * of rows of weight 0 may be anything. */
typedef struct pynni_goal {
    const float *rows;
    const int32_t *labels;
    const float *output_weights; /* or NULL */
    const uint32_t *order;
    size_t stride, output_weights_stride;
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

/* a = f(s), and ds = da f' flushed; kept is s where pynni_keeps_score, else a. Slope is that of a leaky relu. */
typedef void pynni_activation_forward(float *a, const float *s, size_t n, float slope);
typedef void pynni_activation_backward(float *ds, const float *da, const float *kept, size_t n, float slope);

/* Updates n parameters; m and v are the moments, unused ones are NULL. Gives 0 if a new parameter is not finite. */
typedef int pynni_rule(float *w, float *m, float *v, const float *g, size_t n, const pynni_rates *rates);

/* The loss of rows and its gradient ds = dloss/dy times scale[r], by rules 5 and 6; ds may be NULL, losses may be
 * scale. divisor is that of a squared error's value. */
typedef void pynni_loss_rows(float *losses, float *ds, const float *y, const pynni_goal *goal, const float *scale,
                             size_t rows, size_t outputs, float divisor);

/*
 * The kernels of an instruction set. Arrays have any alignment; elementwise ones may be worked on in place.
 * pack: b (k, n) packed, from `in` (k, n) with a stride; pack_transposed: from `in` (n, k), dense.
 * words: PYNNI_WORDS random words; uniform: on (-a, a), from n words; normal: from 2 n words.
 * dropout: y = x scale where half word first + i of the words is at least the threshold, else 0; n elements.
 */
#define PYNNI_KERNEL_LIST(X)                                                                                       \
    X(gemm, void, (const pynni_gemm *g))                                                                           \
    X(pack, void, (float *b, size_t b_panel, const float *in, size_t stride, size_t k, size_t n))                  \
    X(pack_transposed, void, (float *b, const float *in, size_t k, size_t n))                                      \
    X(softmax_forward, void, (float *h, const float *s, size_t rows, size_t width))                                \
    X(softmax_backward, void, (float *ds, const float *dh, const float *h, size_t rows, size_t width))             \
    X(sum_of_squares, float, (const float *x, size_t n))                                                           \
    X(square_root, float, (float x))                                                                               \
    X(words, void, (uint32_t words[PYNNI_WORDS], uint64_t chunk, uint64_t seed, uint32_t step, uint32_t stream))   \
    X(uniform, void, (float *out, const uint32_t *words, size_t n, float a))                                       \
    X(normal, void, (float *out, const uint32_t *words, size_t n, float deviation))                                \
    X(dropout, void, (float *y, const float *x, const uint32_t *words, size_t first, size_t n, uint32_t threshold, \
                      float scale))

/* Tables of kernels, in the order of the lists of kinds.h; NULL where this build leaves a kind out. */
#define PYNNI_TABLE_LIST(X)                                           \
    X(forward, pynni_activation_forward *, PYNNI_ACTIVATIONS)         \
    X(backward, pynni_activation_backward *, PYNNI_ACTIVATIONS)       \
    X(losses, pynni_loss_rows *, PYNNI_LOSSES)                        \
    X(rules, pynni_rule *, PYNNI_RULES)

#define PYNNI_KERNEL_POINTER(name, type, arguments) type(*name) arguments;
#define PYNNI_TABLE_POINTER(name, type, count) type const *name;
typedef struct pynni_kernels {
    int32_t isa;
    size_t panel; /* columns of a packed panel, a divisor of PYNNI_PANEL */
    PYNNI_KERNEL_LIST(PYNNI_KERNEL_POINTER)
    PYNNI_TABLE_LIST(PYNNI_TABLE_POINTER)
} pynni_kernels;

/* What is called through a table where there are several instruction sets, and by its name where there is one. */
#ifdef PYNNI_SCALAR_ONLY
#define PYNNI_KERNEL(kernels, name) ((void)(kernels), PYNNI_OF_BUILD(pynni_scalar_##name))
#define PYNNI_KERNEL_PROTOTYPE(name, type, arguments) type PYNNI_OF_BUILD(pynni_scalar_##name) arguments;
#define PYNNI_TABLE_PROTOTYPE(name, type, count) extern type const PYNNI_OF_BUILD(pynni_scalar_##name)[count];
PYNNI_KERNEL_LIST(PYNNI_KERNEL_PROTOTYPE)
PYNNI_TABLE_LIST(PYNNI_TABLE_PROTOTYPE)
#else
#define PYNNI_KERNEL(kernels, name) ((kernels)->name)
#define PYNNI_KERNELS(name) PYNNI_OF_BUILD(pynni_kernels_##name)
#define PYNNI_KERNELS_PROTOTYPE(kind, name) extern const pynni_kernels PYNNI_KERNELS(name);
PYNNI_ISA_LIST(PYNNI_KERNELS_PROTOTYPE)
#endif

/* Whether the backward pass of an activation reads its score rather than its output. */
static inline int pynni_keeps_score(int32_t activation)
{
#define PYNNI_KEEPS_SCORE(kind, name, keeps_score, init) \
    | (uint32_t)(keeps_score && PYNNI_HAS_LAYER(PYNN_##kind)) << (PYNN_##kind - PYNN_IDENTITY)
    return (int)((0u PYNNI_ACTIVATION_LIST(PYNNI_KEEPS_SCORE)) >> (activation - PYNN_IDENTITY) & 1u);
}

/* ---- dispatch ---------------------------------------------------------- */

/* Every public function that computes stands between these: they set the floating-point environment of rule 1, and
 * restore the caller's. pynni_enter gives the kernels too; with a plan, which has them, pynni_environment_enter is
 * enough. */
typedef struct pynni_call {
    const pynni_kernels *kernels;
    uint64_t environment;
} pynni_call;
#define pynni_enter PYNNI_OF_BUILD(pynni_enter)
#define pynni_environment_enter PYNNI_OF_BUILD(pynni_environment_enter)
pynn_status pynni_enter(pynni_call *call);
void pynni_leave(const pynni_call *call);
uint64_t pynni_environment_enter(void);
void pynni_environment_leave(uint64_t environment);

/* ---- random ------------------------------------------------------------ */

enum { PYNNI_STREAM_INIT = 0, PYNNI_STREAM_SHUFFLE = 1, PYNNI_STREAM_DROPOUT = 2 };

/* y = x times the dropout mask, for rows first .. first + rows of the batch. */
void pynni_dropout(const pynni_kernels *kernels, float *y, const float *x, const pynn_mask *mask, size_t first,
                   size_t rows, size_t width, double p);

/* ---- plan -------------------------------------------------------------- */

/* The unit of a pass: a dense layer with the activation behind it, or one other layer. A softmax or sigmoid that ends
 * the net is a node of its own, which a pass to the scores leaves out. */
typedef struct pynni_node {
    int32_t kind;           /* of its first layer */
    int32_t activation;     /* PYNN_IDENTITY .. PYNN_SILU; of a dense layer, the one that follows */
    uint32_t dropouts;      /* dropout layers before it */
    double slope;           /* of a leaky relu */
    double p;               /* of a dropout */
    size_t inputs, outputs;
    size_t layer;           /* number of its first layer */
    size_t params;          /* where W begins in the flat parameters */
    size_t transposed;      /* where W transposed (O, I) and packed begins, among those of all but the first dense */
} pynni_node;

struct pynn_plan {
    uint64_t mark;          /* of a plan that pynn_plan_init has made */
    const pynni_kernels *kernels;
    const float *params;
    size_t inputs, outputs;
    size_t widest;          /* row anywhere */
    size_t widest_inside;   /* row between two nodes */
    size_t widest_columns;  /* of a product of matrices */
    size_t param_count, layer_count;
    size_t transposed;      /* floats of all transposed weights but those of the first dense layer */
    size_t first_transposed; /* floats of those */
    size_t strip;           /* floats of the longest strip of a weight gradient */
    size_t node_count;
    size_t score_count;     /* nodes of a pass to the scores */
    int32_t last;           /* kind of the last layer */
    pynni_node nodes[];
};

/* What a plan says of all nodes together; the nodes themselves go to `nodes` unless that is NULL. */
pynn_plan pynni_describe(const pynn_net *net, pynni_node *nodes);

pynn_status pynni_check_plan(const pynn_plan *plan);

/* As pynni_check_memory; a workspace must lie apart from the plan and its parameters too. */
pynn_status pynni_check_workspace(pynn_memory workspace, size_t floats, const pynn_plan *plan);

/* The activation behind layer number i of a net, PYNN_IDENTITY for none. */
int32_t pynni_activation_behind(const pynn_net *net, size_t i);

/* Floats of a packed matrix (k, n). */
size_t pynni_packed(size_t k, size_t n);

/* Whether a matrix of so many columns is better packed before it is used. */
#ifdef PYNNI_SMALL
static inline int pynni_is_wide(size_t columns)
{
    (void)columns;
    return 0;
}
#else
int pynni_is_wide(size_t columns);
#endif

/* The rows that go through the layers together, at most PYNNI_ROW_BLOCK: so many that all blocks are of a size. */
size_t pynni_row_block(size_t rows);

/* Rows of a weight gradient (I, outputs) that stand in the first-level cache between product and update. */
size_t pynni_strip_rows(size_t inputs, size_t outputs);

/* ---- data -------------------------------------------------------------- */

extern const pynn_options pynni_no_options;

/* PYNN_OK, or what is wrong with the rows of data that go into a net or layer of so many inputs; data->rows may be 0.
 * *stride is then that of x. */
pynn_status pynni_check_data(size_t *stride, const pynn_data *data, size_t inputs);

/* The same for data whose x is not looked at. */
pynn_status pynni_check_data_fields(const pynn_data *data);

enum { PYNNI_TAKES_END = 1, PYNNI_TAKES_LOSS = 2, PYNNI_TAKES_STRIDE = 4, PYNNI_TAKES_MASK = 8 };

/* PYNN_OK, or what is wrong with a mask. */
pynn_status pynni_check_mask(const pynn_mask *mask);

/* PYNN_OK, or what is wrong with options; *options becomes pynni_no_options where it is NULL. */
pynn_status pynni_check_options(const pynn_options **options, int takes);

/* ---- loss -------------------------------------------------------------- */

/* A batch: its rows are rows order[0 .. rows) of the caller's arrays, or those from `first` on where order is NULL. */
typedef struct pynni_batch {
    const float *x;
    size_t x_stride;
    const pynn_targets *targets;
    size_t targets_stride, output_weights_stride; /* 0 for one row of output weights for all */
    const uint32_t *order;
    size_t first, rows;
} pynni_batch;

/* The loss that a kind names for a net with this last layer (PYNN_LOSS_AUTO: the one that follows from it), or its
 * refusal. */
pynn_status pynni_loss_choose(int32_t *loss, int32_t kind, int32_t last);

/* Refuses what the loss cannot take: labels, weights, indices, settings. data_rows are the rows of the caller's arrays.
 * Fills in the strides of the batch. */
pynn_status pynni_loss_check(pynni_batch *batch, size_t data_rows, size_t outputs, int32_t loss);

/* Whether the pass under this loss ends at the scores. */
int32_t pynni_loss_end(int32_t loss);

/* Rule 5: what the batch is divided by, and the factor c_r of every row of the gradient. */
double pynni_loss_divisor(const pynni_batch *batch);
void pynni_loss_scales(float *scales, const pynni_batch *batch, double divisor, size_t outputs, int32_t loss);

/* losses and ds of rows first .. first + rows of the batch; y and ds start at row first. */
void pynni_loss_block(const pynni_kernels *kernels, float *losses, float *ds, const float *y, const pynni_batch *batch,
                      const float *scales, size_t first, size_t rows, size_t outputs, int32_t loss);

/* total plus w_r losses_r in row order, without rows of weight 0. */
double pynni_loss_total(double total, const float *losses, const pynni_batch *batch);

/* The row of the caller's arrays that is row r of a batch. */
static inline size_t pynni_batch_row(const pynni_batch *batch, size_t r)
{
    return batch->order != NULL ? batch->order[r] : batch->first + r;
}

/* Whether the weight of row r is 0. */
int pynni_is_left_out(const pynni_batch *batch, size_t r);

/* Whether n floats are finite. */
int pynni_all_finite(const float *x, size_t n);

/* ---- layers ------------------------------------------------------------ */

/* dw (I, O) rows first .. first + count; x (B, I) with a stride, ds (B, O), packed or not. */
void pynni_dense_weight_grad(const pynni_kernels *kernels, float *dw, const float *ds, int ds_is_packed, const float *x,
                             size_t x_stride, size_t rows, size_t outputs, size_t first, size_t count, float *scratch);

/* dx (B, I) = ds W^T flushed, from W transposed and packed, times the derivative of a relu whose outputs are given. */
void pynni_dense_input_grad(const pynni_kernels *kernels, float *dx, const float *ds, const float *transposed,
                            const float *relu, size_t rows, size_t inputs, size_t outputs, float *scratch);
void pynni_dense_bias_grad(const pynni_kernels *kernels, float *db, const float *ds, size_t rows, size_t outputs);

/* Whether pynni_dense_input_grad takes W as it is: a panel of one column is a row of W. */
#define PYNNI_TAKES_PLAIN_WEIGHTS (PYNNI_PANEL == 1u)

/* Columns of a packed panel. */
static inline size_t pynni_panel(const pynni_kernels *kernels)
{
#ifdef PYNNI_SCALAR_ONLY
    (void)kernels;
    return PYNNI_PANEL;
#else
    return kernels->panel;
#endif
}

/* ---- optimizer --------------------------------------------------------- */

/* An optimizer step under way. */
typedef struct pynni_step {
    pynni_rule *rule;
    pynni_rates rates;  /* of weights; biases take neither decay nor shrink */
    float *params, *m, *v;
} pynni_step;

/* PYNN_OK, or what is wrong with an optimizer; the checked one has its defaults filled in. */
pynn_status pynni_optimizer_check(pynn_optimizer *checked, const pynn_optimizer *optimizer);

/* PYNN_OK, or what is wrong with a trainer of this plan; the optimizer with its defaults. */
pynn_status pynni_trainer_check(pynn_optimizer *optimizer, const pynn_trainer *trainer, const pynn_plan *plan);

/* Whether it clips gradients; whether a number can be a learning rate. */
int pynni_clips(const pynn_optimizer *optimizer);
int pynni_is_rate(double learning_rate);

/* Moment arrays that it keeps. */
size_t pynni_moments(const pynn_optimizer *optimizer);

/* Advances the state of the trainer by one step and computes its scalars. */
void pynni_step_begin(pynni_step *step, pynn_trainer *trainer, const pynn_plan *plan, const pynn_optimizer *optimizer,
                      double learning_rate);

/* Parameters offset .. offset + n, whose gradient is g. Gives 0 if a new parameter is not finite. */
int pynni_step_apply(const pynni_step *step, const float *g, size_t offset, size_t n, int is_bias);

/* All parameters of a net, on gradients that are clipped if the optimizer does; gives the layer whose new parameters
 * are not finite, or the number of layers. */
size_t pynni_step_apply_all(pynni_step *step, const float *grads, const pynn_plan *plan,
                            const pynn_optimizer *optimizer);

/* ---- pass -------------------------------------------------------------- */

/* What a node keeps for the way back. */
typedef struct pynni_slot {
    float *rows;      /* (B, O) that come out */
    float *gradient;  /* (B, O) of its score (of its input, if it is not dense); on the way forward the score, where
                         the way back reads it */
    float *packed;    /* that gradient packed, if it is wide */
} pynni_slot;

/* What a call needs beside the nodes' rows. */
enum {
    PYNNI_NEEDS_STAMP = 1,    /* of the tape whose forward pass is kept */
    PYNNI_NEEDS_LOSSES = 2,   /* losses and scales */
    PYNNI_NEEDS_GRADS = 4,    /* gradients of all parameters */
    PYNNI_NEEDS_INPUTS = 8,   /* rows that go in, side by side */
    PYNNI_NEEDS_STRIPS = 16,  /* strips of weight gradients */
    PYNNI_NEEDS_PACKED = 32,  /* gradients packed for weight gradients */
    PYNNI_NEEDS_DX = 64       /* the transposed weights of the first dense layer */
};

/* The memory of a pass over a batch of up to `rows` rows. */
typedef struct pynni_layout {
    pynni_slot *slots;        /* of every node */
    float *transposed;        /* of every dense layer but the first: W transposed (O, I), packed */
    float *first_transposed;
    float *losses;            /* (B) */
    float *scales;            /* (B) */
    float *inputs;            /* (B, I) */
    float *grads;             /* as the parameters */
    float *own;               /* of every worker, own_floats apart: (row block, widest), then */
    size_t own_scratch;       /* from here PYNNI_SCRATCH, if a layer is wide */
    size_t own_strip;         /* from here whole rows of a weight gradient */
    size_t own_floats;
} pynni_layout;

/* Lays out a pass in memory, which has passed the check, and gives its length in floats; with start NULL only that. */
size_t pynni_lay_out(pynni_layout *layout, void *start, const pynn_plan *plan, size_t rows, size_t workers, int needs);

/* The length of that memory in bytes. */
pynn_status pynni_layout_bytes(size_t *bytes, const pynn_plan *plan, size_t rows, const pynn_executor *executor,
                               int needs);

/* Floats that one worker needs to predict up to `rows` rows. */
size_t pynni_predict_floats(const pynn_plan *plan, size_t rows);

/* Floats of a pass for one worker, without a plan. */
size_t pynni_floats_of_net(const pynn_net *net, size_t rows, int needs);

/* What an optimizer step needs: PYNNI_NEEDS_... */
int pynni_train_needs(const pynn_optimizer *optimizer);

/* The arrays of a pass over one batch. */
typedef struct pynni_pass {
    const pynn_plan *plan;
    const float *x;        /* (B, I) */
    size_t x_stride;
    const pynn_mask *mask; /* NULL: no dropout */
    size_t nodes;          /* that take part */
    size_t rows;           /* B */
    size_t rows_before;    /* of the batch of which these are a part, for the mask */
    const pynn_executor *executor;
    pynni_layout layout;
} pynni_pass;

size_t pynni_nodes_until(const pynn_plan *plan, int32_t end);

/* One node: out (rows, outputs) with a stride from in (rows, inputs). A score that the way back needs goes to
 * `score`, dense; NULL: there is no way back. scratch: for a wide layer, or NULL. */
void pynni_node_forward(const pynn_plan *plan, const pynni_node *node, float *out, size_t out_stride, float *score,
                        const float *in, size_t in_stride, size_t rows, float *scratch);

/* Batch rows first .. first + rows through all nodes. */
void pynni_pass_forward(const pynni_pass *pass, size_t worker, size_t first, size_t rows);

/* Rows of weight 0 count as +0 where they are not finite. */
void pynni_pass_leave_out(const pynni_pass *pass, const pynni_batch *batch, size_t first, size_t rows);

/* The rows that came out, from row first, and in *drows where their gradient may be put. */
float *pynni_pass_rows(const pynni_pass *pass, size_t worker, size_t first, float **drows);

/* All rows, block by block, split among the workers. */
typedef void pynni_block(const void *argument, size_t worker, size_t first, size_t rows);
pynn_status pynni_pass_blocks(const pynni_pass *pass, pynni_block *block, const void *argument);

/* The transposed weights that pynni_pass_backward needs. */
pynn_status pynni_pass_transpose(const pynni_pass *pass, int with_dx);

/* The facing function: from drows (rows, O), the gradient of the rows that came out, to the gradient of every node's
 * score, and to dx (rows, I) unless that is NULL. */
void pynni_pass_backward(const pynni_pass *pass, size_t worker, float *dx, const float *drows, size_t first,
                         size_t rows);

/* From the gradients of the scores to those of all parameters. */
pynn_status pynni_pass_grads(const pynni_pass *pass, float *grads);

/* The same, each strip of a gradient handed to the update while it is in cache. *failed is the layer whose new
 * parameters are not finite, or the number of layers. */
pynn_status pynni_pass_learn(const pynni_pass *pass, const pynni_step *step, size_t *failed);

/* ---- gradient ---------------------------------------------------------- */

/* What a batch needs of its rows is fetched ahead, since they come from anywhere in the data; a batch so small that it
 * is fetched as a whole, during the step before. Small builds fetch nothing. */
#ifdef PYNNI_SMALL
static inline void pynni_batch_fetch(const pynni_batch *batch, size_t inputs, size_t r)
{
    (void)batch, (void)inputs, (void)r;
}
static inline int pynni_batch_is_small(const pynni_batch *batch, size_t inputs)
{
    (void)batch, (void)inputs;
    return 0;
}
#else
void pynni_batch_fetch(const pynni_batch *batch, size_t inputs, size_t r);
int pynni_batch_is_small(const pynni_batch *batch, size_t inputs);
#endif

/* The first phase of a step: the rows of a batch forward, through the loss, and back to the gradient of every score,
 * and to dx (B, I) unless that is NULL. Losses and scales are in the layout. Where the layout has `inputs`, the rows
 * are gathered there first. */
pynn_status pynni_pass_batch(const pynni_pass *pass, const pynni_batch *batch, float *dx, int32_t loss);

#endif
