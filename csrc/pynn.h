/*
 * pynn: dense neural networks on the CPU, the same bits on every machine.
 *
 * This header is the whole public face of the library and the only file that
 * a program includes. To embed pynn, compile every .c file of csrc and of
 * csrc/kernels with gcc or clang and any flags you like; nothing else is needed:
 *
 *     cc -O2 -I csrc my_program.c $(find csrc -name '*.c')
 *
 * Ownership  The caller owns all memory. The library allocates nothing, keeps
 *            no pointer after a call returns, prints nothing, never exits and
 *            starts no thread but in pynn_threads_start. Its one piece of state
 *            is the instruction set it has chosen.
 * Errors     Every function that can fail returns a pynn_status, 0 for success;
 *            results go through pointers. A wrong argument is refused before
 *            anything is written. Where there are no rows, arrays of rows may
 *            be NULL, but training and the pass with a way back need one.
 * Threads    Calls on distinct outputs and workspaces may run at the same time,
 *            on one const net with one const parameter array.
 * Arrays     float is IEEE binary32. Matrices are row-major, a batch is rows.
 *            B batch rows, I inputs, O outputs; W is (I, O), b is (O).
 *            Arrays marked "stride" have rows that many floats apart; all others
 *            are dense. Floats need 4-byte alignment, workspaces 64-byte.
 *            Outputs must not overlap inputs unless a comment says "in place".
 * Results    Every bit is defined by docs/arithmetic.md and depends on neither
 *            the machine nor the compiler.
 *
 * Argument order: outputs, const inputs, sizes, scalars. A gradient carries the
 * name of its quantity with a d in front. Gradients are overwritten, not added.
 */
#ifndef PYNN_H
#define PYNN_H

#include <stddef.h>
#include <stdint.h>

#ifndef PYNN_API
#if defined(__GNUC__) && !defined(_WIN32)
#define PYNN_API __attribute__((visibility("default")))
#else
#define PYNN_API
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* binding: begin (what follows is parsed by pynn/_build_ffi.py) */

#define PYNN_VERSION_MAJOR 0
#define PYNN_VERSION_MINOR 1
#define PYNN_VERSION_PATCH 0
#define PYNN_CONTRACT 1 /* version of the arithmetic contract */
#define PYNN_WORKSPACE_ALIGNMENT 64

/* ---- status ------------------------------------------------------------ */

typedef enum pynn_status {
    PYNN_OK = 0,
    PYNN_NULL_POINTER = 1,          /* a required pointer is NULL */
    PYNN_BAD_KIND = 2,              /* an unknown layer, loss, optimizer or initialisation, or one that does not fit */
    PYNN_BAD_SIZE = 3,              /* a zero size, widths that do not match, or a stride shorter than its row */
    PYNN_TOO_LARGE = 4,             /* a size that does not fit in memory */
    PYNN_BAD_VALUE = 5,             /* a hyper-parameter outside its range */
    PYNN_BAD_NET = 6,               /* the loss needs a last layer that the net does not have */
    PYNN_BAD_LABEL = 7,             /* a class label outside 0 .. O-1 */
    PYNN_BAD_WEIGHT = 8,            /* a sample weight that is negative or not finite */
    PYNN_BAD_INDEX = 9,             /* an index beyond the rows or layers, or a part that begins within a block */
    PYNN_BAD_WORKSPACE = 10,        /* a workspace too short or not 64-byte aligned */
    PYNN_LOSS_NOT_FINITE = 11,      /* the loss of a batch is NaN or infinite; nothing was updated */
    PYNN_PARAMETER_NOT_FINITE = 12, /* an update made a parameter NaN or infinite; parameters are spoilt */
    PYNN_BAD_ARITHMETIC = 13,       /* this build or machine breaks the arithmetic contract */
    PYNN_NO_ISA = 14,               /* this build or machine lacks the instruction set */
    PYNN_NO_THREADS = 15            /* threads could not be started, or this build has none */
} pynn_status;

/* A sentence in English for a status; never NULL. */
PYNN_API const char *pynn_status_text(int32_t status);

/* "major.minor.patch" of the library that is running. */
PYNN_API const char *pynn_version(void);

/* ---- executor ---------------------------------------------------------- */

/*
 * Who does the work of a call. run calls task(argument, worker) once for each worker 0 .. workers - 1, at the same time
 * or one after the other, and returns when all are done; the calling thread may be one of them. The library's own is
 * made by pynn_threads_start; a program with threads of its own may bring them here. Where a function takes an
 * executor, NULL means the calling thread alone. Results do not depend on it.
 */
typedef struct pynn_executor {
    size_t workers; /* at least 1 */
    void *context;
    void (*run)(void *context, void (*task)(void *argument, size_t worker), void *argument);
} pynn_executor;

/* ---- net --------------------------------------------------------------- */

typedef enum pynn_layer_kind {
    PYNN_DENSE = 0,      /* s = x W + b */
    PYNN_IDENTITY = 1,   /* a = s */
    PYNN_RELU = 2,       /* a = max(0, s); the gradient at 0 is 0 */
    PYNN_LEAKY_RELU = 3, /* a = s > 0 ? s : slope s */
    PYNN_SIGMOID = 4,    /* a = 1 / (1 + e^-s) */
    PYNN_TANH = 5,       /* a = tanh s */
    PYNN_SOFTPLUS = 6,   /* a = log(1 + e^s) */
    PYNN_GELU = 7,       /* a = s Phi(s), Phi the normal distribution function */
    PYNN_SILU = 8,       /* a = s sigmoid(s) */
    PYNN_SOFTMAX = 9,    /* h_i = e^{s_i} / sum_j e^{s_j}, per row */
    PYNN_DROPOUT = 10    /* in training: 0 with probability p, else x / (1 - p) */
} pynn_layer_kind;

typedef enum pynn_init_kind {
    PYNN_INIT_AUTO = 0,           /* he_normal before relu, leaky relu, softplus, gelu, silu; else glorot_uniform */
    PYNN_INIT_HE_NORMAL = 1,      /* normal, variance 2 / I */
    PYNN_INIT_HE_UNIFORM = 2,     /* uniform, variance 2 / I */
    PYNN_INIT_GLOROT_NORMAL = 3,  /* normal, variance 2 / (I + O) */
    PYNN_INIT_GLOROT_UNIFORM = 4, /* uniform, variance 2 / (I + O) */
    PYNN_INIT_ZEROS = 5
} pynn_init_kind;

typedef struct pynn_layer {
    int32_t kind;   /* pynn_layer_kind */
    int32_t init;   /* dense: pynn_init_kind of the weight; biases start at 0 */
    size_t inputs;  /* dense: I; other layers: 0, they take the width they get */
    size_t outputs; /* dense: O; other layers: 0 */
    double value;   /* leaky relu: slope, 0 <= slope <= FLT_MAX; dropout: p, 0 <= p < 1 - 2^-17 */
} pynn_layer;

/*
 * A net is a description: plain numbers and a pointer to the caller's layers,
 * which must outlive it. pynn_net_init fills every field; nothing else does.
 * All parameters are one flat array: dense layer by dense layer, W then b.
 * Gradients and each optimizer moment have the same shape.
 */
typedef struct pynn_net {
    const pynn_layer *layers;
    size_t layer_count;
    size_t inputs;      /* width of a row that goes in */
    size_t outputs;     /* width of a row that comes out */
    size_t widest;      /* width of the widest row anywhere */
    size_t param_count; /* length of the flat parameter array */
} pynn_net;

/* Checks the layers (at least one dense, neighbouring widths equal) and fills net. */
PYNN_API pynn_status pynn_net_init(pynn_net *net, const pynn_layer *layers, size_t layer_count);

/* Where the parameters of the dense layer number `layer` start: W at params + *offset, then b. */
PYNN_API pynn_status pynn_net_offset(size_t *offset, const pynn_net *net, size_t layer);

/* Workspace of pynn_predict for any number of rows; workers as in the executor, 1 without. */
PYNN_API pynn_status pynn_predict_bytes(size_t *bytes, const pynn_net *net, size_t workers);

/* Workspace of pynn_forward, pynn_backward and pynn_loss_and_grad for up to `rows` rows. */
PYNN_API pynn_status pynn_pass_bytes(size_t *bytes, const pynn_net *net, size_t rows);

/* ---- random ------------------------------------------------------------ */

/* A permutation of 0 .. n-1, the order of the rows in an epoch; n <= 2^32 - 1. */
PYNN_API pynn_status pynn_permutation(uint32_t *order, size_t n, uint64_t seed, uint32_t epoch);

/* Draws the weights of every dense layer, and sets biases to 0. */
PYNN_API pynn_status pynn_net_draw(float *params, const pynn_net *net, uint64_t seed);

/* The same for one dense layer; `layer` counts the dense layers before it in its net. What comes behind it is not known:
 * PYNN_INIT_AUTO means glorot_uniform. */
PYNN_API pynn_status pynn_dense_draw(float *w, float *b, size_t inputs, size_t outputs, int32_t init,
                                     uint64_t seed, uint32_t layer);

/* Elements first .. first + n of a stream of random words. Streams below 3 << 24 are the library's own: the initial
 * values (0 << 24 | dense layer), the shuffling (1 << 24) and the dropout masks (2 << 24 | dropout layer). */
PYNN_API pynn_status pynn_random_words(uint32_t *words, size_t n, uint64_t first, uint64_t seed, uint32_t step,
                                       uint32_t stream);

/* ---- layers, each alone ------------------------------------------------ */

/* s = x W + b. s (B, O), x (B, I) with a stride, w (I, O), b (O). */
PYNN_API pynn_status pynn_dense_forward(float *s, const float *x, size_t x_stride, const float *w, const float *b,
                                        size_t rows, size_t inputs, size_t outputs);

/* dx = ds W^T, dw = x^T ds, db = the sum of the rows of ds. Any of dx, dw, db may be NULL.
 * The workspace (pynn_dense_backward_bytes) is needed for dx only. */
PYNN_API pynn_status pynn_dense_backward(float *dx, float *dw, float *db, const float *ds, const float *x,
                                         size_t x_stride, const float *w, size_t rows, size_t inputs, size_t outputs,
                                         void *workspace, size_t workspace_bytes);
PYNN_API pynn_status pynn_dense_backward_bytes(size_t *bytes, size_t inputs, size_t outputs);

/* a = f(s) for n elements, f one of PYNN_IDENTITY .. PYNN_SILU, value the slope of a leaky relu; in place allowed. */
PYNN_API pynn_status pynn_activation_forward(float *a, const float *s, size_t n, int32_t kind, double value);

/* ds = da f'(s), from the score s and the activation a; in place on da allowed. */
PYNN_API pynn_status pynn_activation_backward(float *ds, const float *da, const float *s, const float *a, size_t n,
                                              int32_t kind, double value);

/* h = softmax of each row of s; in place allowed. */
PYNN_API pynn_status pynn_softmax_forward(float *h, const float *s, size_t rows, size_t width);

/* ds_j = h_j (dh_j - sum_k dh_k h_k) per row; in place on dh allowed. */
PYNN_API pynn_status pynn_softmax_backward(float *ds, const float *dh, const float *h, size_t rows, size_t width);

/* The identity of a dropout mask: masks are a function of these and are never stored. */
typedef struct pynn_mask {
    uint64_t seed;
    uint32_t step;  /* optimizer steps done before this one */
    uint32_t layer; /* dropout layers before this one in the net */
} pynn_mask;

/* y = x times the mask, 0 or 65536 / (65536 - floor(65536 p + 0.5)); in place allowed. */
PYNN_API pynn_status pynn_dropout_forward(float *y, const float *x, const pynn_mask *mask, size_t rows, size_t width,
                                          double p);
PYNN_API pynn_status pynn_dropout_backward(float *dx, const float *dy, const pynn_mask *mask, size_t rows, size_t width,
                                           double p);

/* ---- loss -------------------------------------------------------------- */

typedef enum pynn_loss_kind {
    PYNN_SQUARED_ERROR = 0,       /* sum_j (h_j - t_j)^2 */
    PYNN_HALF_SQUARED_ERROR = 1,  /* half of it */
    PYNN_MEAN_SQUARED_ERROR = 2,  /* 1/O of it */
    PYNN_CROSS_ENTROPY = 3,       /* -sum_j t_j log h_j, h the softmax of the scores */
    PYNN_BINARY_CROSS_ENTROPY = 4 /* -sum_j t_j log h_j + (1 - t_j) log(1 - h_j), h the sigmoid of the scores */
} pynn_loss_kind;

/* What the net should give for N rows. Either rows or labels, not both. */
typedef struct pynn_targets {
    const float *rows;     /* (N, O) with a stride; for cross-entropy rows that are >= 0 and sum to 1, unchecked */
    size_t stride;         /* floats from one row to the next */
    const int32_t *labels; /* (N), cross-entropy only */
    const float *weights;  /* (N), finite and >= 0, or NULL for weights of 1 */
} pynn_targets;

/*
 * The loss of a batch, sum_r w_r loss_r / sum_r w_r, and its gradient ds (B, O); ds may be NULL.
 * y (B, O) holds scores for the cross-entropies and outputs for the squared errors. losses (B) gets
 * the loss of each row, unweighted. *loss is 0 and ds is 0 where all weights are 0.
 */
PYNN_API pynn_status pynn_loss(double *loss, float *losses, float *ds, const float *y, const pynn_targets *targets,
                               size_t rows, size_t outputs, int32_t kind);

/* ---- pass: a whole net ------------------------------------------------- */

/* Where a pass ends: at the outputs, or at the scores, which are the input of a final softmax or sigmoid
 * (the outputs, if the net ends otherwise). */
typedef enum pynn_end {
    PYNN_OUTPUTS = 0,
    PYNN_SCORES = 1
} pynn_end;

/* y (B, O) for x (B, I) with a stride. No dropout. */
PYNN_API pynn_status pynn_predict(float *y, const pynn_net *net, const float *params, const float *x, size_t x_stride,
                                  size_t rows, int32_t end, const pynn_executor *executor, void *workspace,
                                  size_t workspace_bytes);

/* The same on the calling thread, keeping in the workspace what pynn_backward needs. mask NULL: no dropout; its field layer is ignored. */
PYNN_API pynn_status pynn_forward(float *y, const pynn_net *net, const float *params, const float *x, size_t x_stride,
                                  const pynn_mask *mask, size_t rows, int32_t end, void *workspace,
                                  size_t workspace_bytes);

/* From dy (B, O) to the gradients of all parameters and of the input; grads or dx (B, I) may be NULL.
 * All other arguments, and the workspace, are those of the pynn_forward before; once for each pynn_forward. */
PYNN_API pynn_status pynn_backward(float *grads, float *dx, const float *dy, const pynn_net *net, const float *params,
                                   const float *x, size_t x_stride, const pynn_mask *mask, size_t rows, int32_t end,
                                   void *workspace, size_t workspace_bytes);

/* Loss of a batch and its gradient in every parameter, in one call. Both may come out NaN or infinite. */
PYNN_API pynn_status pynn_loss_and_grad(double *loss, float *grads, const pynn_net *net, const float *params,
                                        const float *x, size_t x_stride, const pynn_targets *targets,
                                        const pynn_mask *mask, size_t rows, int32_t loss_kind, void *workspace,
                                        size_t workspace_bytes);

/* Workspace of pynn_loss_and_grad_part, for any number of rows. */
PYNN_API pynn_status pynn_part_bytes(size_t *bytes, const pynn_net *net);

/*
 * The same for a part of a batch that does not fit in memory: x and targets hold the rows of the part alone, and first
 * of the batch's rows come before them. Parts go from the first row to the last, and each but the last has a multiple of
 * 256 rows; else PYNN_BAD_INDEX. weight is the sum of the weights of the whole batch, in double in the order of its rows
 * (the number of rows, without weights), finite and >= 0; else PYNN_BAD_WEIGHT. Where first is 0, loss and grads are
 * overwritten; else they are added to. After the last part, grads has the bits of the whole batch, and so has
 * *loss / weight; both are 0 where weight is.
 */
PYNN_API pynn_status pynn_loss_and_grad_part(double *loss, float *grads, const pynn_net *net, const float *params,
                                             const float *x, size_t x_stride, const pynn_targets *targets,
                                             const pynn_mask *mask, size_t rows, size_t first, double weight,
                                             int32_t loss_kind, void *workspace, size_t workspace_bytes);

/* ---- optimizer --------------------------------------------------------- */

typedef enum pynn_optimizer_kind {
    PYNN_SGD = 0,  /* w -= lr g; with momentum v = mu v + g, w -= lr v; Nesterov w -= lr (mu v + g) */
    PYNN_ADAM = 1, /* Kingma and Ba 2015, both moments bias-corrected */
    PYNN_ADAMW = 2 /* Loshchilov and Hutter 2019: decay apart from the gradient */
} pynn_optimizer_kind;

typedef struct pynn_optimizer {
    int32_t kind;        /* pynn_optimizer_kind */
    int32_t nesterov;    /* SGD: 0 or 1, which needs momentum > 0 */
    double momentum;     /* SGD: 0 <= mu < 1 */
    double beta1, beta2; /* Adam, AdamW: 0 <= beta < 1 */
    double epsilon;      /* Adam, AdamW: >= 1e-12 */
    double weight_decay; /* 0 <= decay <= FLT_MAX, as learning rates: SGD and Adam add it times w to g (L2); AdamW shrinks w; never on biases */
    double clip_norm;    /* > 0: longest gradient, global L2 norm; 0: no clipping */
} pynn_optimizer;

/* Where training stands. Starts as {0, 1, 1} with moments of 0. */
typedef struct pynn_state {
    uint64_t steps;      /* optimizer steps done */
    double beta1_power;  /* beta1^steps */
    double beta2_power;  /* beta2^steps */
} pynn_state;

/* Moment arrays that an optimizer keeps: 0, 1 or 2, each as long as the parameters, one after the other. */
PYNN_API pynn_status pynn_optimizer_moments(size_t *count, const pynn_optimizer *optimizer);

/* One optimizer step on given gradients. On PYNN_PARAMETER_NOT_FINITE the step is counted, the parameters are spoilt and
 * *where, if not NULL, is the layer. */
PYNN_API pynn_status pynn_update(float *params, float *moments, pynn_state *state, size_t *where, const float *grads,
                                 const pynn_net *net, const pynn_optimizer *optimizer, double learning_rate);

/* ---- train ------------------------------------------------------------- */

/* What an epoch's history needs, summed over rows in the order they were seen. */
typedef struct pynn_totals {
    double loss;   /* sum of w_r loss_r */
    double weight; /* sum of w_r */
} pynn_totals;

/* Workspace of pynn_train_steps for batches of up to `batch` rows; workers as in the executor, 1 without. */
PYNN_API pynn_status pynn_train_bytes(size_t *bytes, const pynn_net *net, const pynn_optimizer *optimizer,
                                      size_t batch, size_t workers);

/*
 * `steps` = ceil(count / batch) optimizer steps in one call. Step k trains on the rows order[k batch .. min((k+1) batch, count)) of x,
 * targets and weights, with learning_rates[k], and drops out as mask (seed given, step from the state). A batch
 * whose weights are all 0 is skipped and not counted. totals are added to.
 * On PYNN_LOSS_NOT_FINITE everything stands as before the failing step; on PYNN_PARAMETER_NOT_FINITE the
 * parameters are spoilt and *where, if not NULL, is the layer. state->steps tells how far it came, a step that spoilt
 * the parameters included.
 */
PYNN_API pynn_status pynn_train_steps(float *params, float *moments, pynn_state *state, pynn_totals *totals,
                                      size_t *where, const pynn_net *net, const pynn_optimizer *optimizer,
                                      const float *x, size_t x_stride, const pynn_targets *targets, size_t data_rows,
                                      const uint32_t *order, size_t count, size_t batch, const double *learning_rates,
                                      size_t steps, int32_t loss_kind, uint64_t seed,
                                      const pynn_executor *executor, void *workspace, size_t workspace_bytes);

/* ---- threads ----------------------------------------------------------- */

/* Workers that are worth their while for training on batches of that many rows, at most `available`: 1 where a step is
 * so short that handing work over would cost more than it saves. */
PYNN_API pynn_status pynn_threads_advise(size_t *workers, const pynn_net *net, size_t batch, size_t available);

/* Memory of an executor on threads of the operating system. */
PYNN_API pynn_status pynn_threads_bytes(size_t *bytes, size_t workers);

/*
 * Starts workers - 1 threads in the caller's 64-byte aligned memory, which must stay until pynn_threads_stop. Between
 * tasks a thread spins some 50 microseconds, then sleeps. Not to be used by two threads at the same time, nor in the child of
 * a fork, which does not inherit threads.
 */
PYNN_API pynn_status pynn_threads_start(pynn_executor *executor, void *memory, size_t memory_bytes, size_t workers);

/* Ends the threads and waits for them. */
PYNN_API pynn_status pynn_threads_stop(pynn_executor *executor);

/* ---- dispatch ---------------------------------------------------------- */

typedef enum pynn_isa {
    PYNN_ISA_SCALAR = 0,
    PYNN_ISA_SSE2 = 1,
    PYNN_ISA_AVX2 = 2, /* with FMA */
    PYNN_ISA_AVX512 = 3,
    PYNN_ISA_NEON = 4
} pynn_isa;

/* The instruction set in use: the best of this build and machine, or what PYNN_ISA in the environment names; if that
 * is none of this build and machine, every function that computes returns PYNN_NO_ISA. */
PYNN_API pynn_status pynn_isa_get(int32_t *isa);

/* Forces one, or PYNN_NO_ISA; results do not change, only their speed. Not while another thread computes. */
PYNN_API pynn_status pynn_isa_set(int32_t isa);

/* "scalar", "sse2", "avx2", "avx512", "neon", or NULL beyond the last. */
PYNN_API const char *pynn_isa_name(int32_t isa);

/* Why functions that compute return PYNN_BAD_ARITHMETIC: which rule of docs/arithmetic.md is broken, and how. NULL if the
 * instruction set that is chosen, or else wanted, keeps the contract, even where pynn_isa_set has refused another. */
PYNN_API const char *pynn_broken_rule(void);

/* ---- self-test --------------------------------------------------------- */

#define PYNN_DIGEST 65 /* characters of a SHA-256 in hexadecimal, and the 0 that ends it */

/*
 * Fixed runs that prove a build and machine: trainings over all layers, losses, optimizers and odd shapes, predictions,
 * functions, random numbers. Each is numbered from 0 and has a name; NULL beyond the last.
 */
PYNN_API const char *pynn_selftest_name(size_t run);

/* Workspace of every run; workers as in the executor, 1 without. Some 1.1 MB for one. */
PYNN_API pynn_status pynn_selftest_bytes(size_t *bytes, size_t workers);

/* Does a run and gives the SHA-256 of its results, or an empty digest where it could not be done. PYNN_BAD_ARITHMETIC
 * with a digest: it is not that of the contract. */
PYNN_API pynn_status pynn_selftest(char digest[PYNN_DIGEST], size_t run, const pynn_executor *executor,
                                   void *workspace, size_t workspace_bytes);

/* binding: end */

#ifdef __cplusplus
}
#endif

#endif
