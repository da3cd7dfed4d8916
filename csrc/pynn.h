/*
 * pynn: dense neural networks on the CPU, the same bits on every machine.
 *
 * This header is the whole public face of the library and the only file that a program includes. To embed pynn, compile
 * every .c file of csrc and of csrc/kernels with gcc or clang and any flags you like, the same for all; nothing else is
 * needed:
 *
 *     cc -O2 -I csrc my_program.c $(find csrc -name '*.c')
 *
 * It has three parts. SIMPLE: a net that learns and predicts, in four calls. FULL: nets, plans, data and trainers, for
 * memory, batches and threads of your own. ADVANCED: gradients, single layers, instruction sets, the self-test.
 *
 * Ownership  The caller owns all memory. The library allocates nothing, prints nothing, never exits and starts no
 *            thread but in pynn_threads_start. A plan keeps pointers to the caller's arrays; a learner, an executor and
 *            a tape keep pointers into memory that the caller gave them. No other call keeps one. The only state of the
 *            library is the instruction set that it has chosen.
 * Errors     Every function that can fail returns a pynn_status, PYNN_OK (0) for success; results go through pointers.
 *            A wrong argument is refused before anything is written. See "status".
 * Structs    {0} is valid for every struct here and means the defaults; the pointers that a call needs are added. What
 *            is called `reserved` must be 0; what is called `private_` belongs to the library.
 * Arrays     float is IEEE binary32. Matrices are row-major, a batch is rows. B rows of a batch, N rows of all data,
 *            I inputs, O outputs; W is (I, O), b is (O). A stride counts the floats from one row to the next; a stride
 *            of 0 means dense rows. Arrays without a stride are dense. Widths come from the net, lengths from N: arrays
 *            that are shorter, or not aligned to 4 bytes, are UNCHECKED.
 * Memory     A pynn_memory is a piece of the caller's memory that starts at a multiple of 64 bytes. A function whose
 *            name ends in _bytes tells how long it must be; that depends on the build and the arguments, never on the
 *            machine. A workspace must overlap neither plan nor parameters, which is refused, nor other arrays or
 *            memory in use (UNCHECKED).
 * Results    Outputs are overwritten. What carries on from call to call are the params, moments, state and totals of a
 *            trainer, the epochs of a learner, and an accumulation with its grads. Every bit is defined by
 *            docs/arithmetic.md and depends on neither the machine nor the compiler.
 * Threads    Calls on distinct outputs and memory may run at the same time, on one const net, plan or parameter array.
 * UNCHECKED  marks what the library cannot see; then it is the caller's to keep.
 *
 * Argument order: outputs, const inputs, sizes, scalars, memory. A gradient carries the name of its quantity with a d
 * in front. Outputs must overlap neither inputs, unless a comment says "in place", nor each other (UNCHECKED, but for x
 * and y of one net in prediction).
 */
#ifndef PYNN_H
#define PYNN_H

#include <stddef.h>
#include <stdint.h>

#ifndef PYNN_API
#if defined(_WIN32)
#ifdef PYNNI_LIBRARY
#define PYNN_API __declspec(dllexport)
#else
#define PYNN_API
#endif
#elif defined(__GNUC__)
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
#define PYNN_VERSION_MINOR 2
#define PYNN_VERSION_PATCH 0
#define PYNN_VERSION_NUMBER 200  /* major * 10000 + minor * 100 + patch */
#define PYNN_CONTRACT 1          /* version of the arithmetic contract */
#define PYNN_MEMORY_ALIGNMENT 64 /* bytes */

/* ---- status ------------------------------------------------------------------------------------------------------ */

/*
 * What a call answers: PYNN_OK, or a code below. A refusal of an argument carries in its higher bits which argument it
 * is. So compare pynn_status_code(status) with the codes, and the status itself with PYNN_OK alone.
 */
typedef int32_t pynn_status;

typedef enum pynn_code {
    PYNN_OK = 0,
    PYNN_NULL_POINTER = 1,          /* a required pointer is NULL */
    PYNN_BAD_KIND = 2,              /* an unknown kind, one that this build leaves out, or one that does not fit */
    PYNN_BAD_SIZE = 3,              /* a zero size, widths that do not match, or a stride shorter than its row */
    PYNN_TOO_LARGE = 4,             /* a size that does not fit in memory */
    PYNN_BAD_VALUE = 5,             /* a number outside its range, or a reserved field that is not 0 */
    PYNN_BAD_NET = 6,               /* the loss needs another last layer, or this is no net or plan of the library */
    PYNN_BAD_LABEL = 7,             /* a class label outside 0 .. O-1, in a row whose weight is not 0 */
    PYNN_BAD_WEIGHT = 8,            /* a weight that is not finite, or negative where it must not be */
    PYNN_BAD_INDEX = 9,             /* an index beyond the rows, layers or runs */
    PYNN_BAD_MEMORY = 10,           /* memory that is too short, does not start at a multiple of 64, or overlaps */
    PYNN_BAD_ORDER = 11,            /* a call that does not fit those before it: a backward without its forward, ... */
    PYNN_BAD_EXECUTOR = 12,         /* an executor that has left workers out, or is not the library's own */
    PYNN_LOSS_NOT_FINITE = 13,      /* the loss of a batch or a factor of its gradient is NaN or infinite; nothing was
                                       updated */
    PYNN_PARAMETER_NOT_FINITE = 14, /* an update made a parameter NaN or infinite; parameters are spoilt */
    PYNN_BAD_ARITHMETIC = 15,       /* this build or machine breaks the arithmetic contract */
    PYNN_NO_ISA = 16,               /* this build or machine lacks the instruction set */
    PYNN_NO_THREADS = 17            /* threads could not be started, or this build has none */
} pynn_code;

/* The code of a status. */
PYNN_API int32_t pynn_status_code(pynn_status status);

/* A sentence in English for the code of a status; never NULL. */
PYNN_API const char *pynn_status_text(pynn_status status);

/* The argument or field that was refused, such as "data.stride"; "" where the status names none; never NULL. "output",
 * "input" and "size" stand for arrays and numbers that are arguments themselves, "memory" for workspaces too. */
PYNN_API const char *pynn_status_argument(pynn_status status);

/* The number of the layer that pynn_net_init has refused; -1 where the status names none. */
PYNN_API int32_t pynn_status_layer(pynn_status status);

/* Of the library that is running: "major.minor.patch", PYNN_VERSION_NUMBER, and PYNN_CONTRACT. */
PYNN_API const char *pynn_version(void);
PYNN_API int32_t pynn_version_number(void);
PYNN_API int32_t pynn_contract(void);

/* ==== SIMPLE ====================================================================================================== */

/* A piece of the caller's memory; `start` is a multiple of PYNN_MEMORY_ALIGNMENT. */
typedef struct pynn_memory {
    void *start;
    size_t bytes;
} pynn_memory;

typedef enum pynn_layer_kind {
    PYNN_DENSE = 0,      /* s = x W + b; fields: init, inputs, outputs */
    PYNN_IDENTITY = 1,   /* a = s */
    PYNN_RELU = 2,       /* a = max(0, s); the gradient at 0 is 0 */
    PYNN_LEAKY_RELU = 3, /* a = s > 0 ? s : slope s; field: slope */
    PYNN_SIGMOID = 4,    /* a = 1 / (1 + e^-s) */
    PYNN_TANH = 5,       /* a = tanh s */
    PYNN_SOFTPLUS = 6,   /* a = log(1 + e^s) */
    PYNN_GELU = 7,       /* a = s Phi(s), Phi the normal distribution function */
    PYNN_SILU = 8,       /* a = s sigmoid(s) */
    PYNN_SOFTMAX = 9,    /* h_i = e^{s_i} / sum_j e^{s_j}, per row */
    PYNN_DROPOUT = 10    /* in training: 0 with probability p, else x / (1 - p); field: p */
} pynn_layer_kind;

typedef enum pynn_init_kind {
    PYNN_INIT_AUTO = 0,           /* he_normal before relu, leaky relu, softplus, gelu, silu; else glorot_uniform */
    PYNN_INIT_HE_NORMAL = 1,      /* normal, variance 2 / I */
    PYNN_INIT_HE_UNIFORM = 2,     /* uniform, variance 2 / I */
    PYNN_INIT_GLOROT_NORMAL = 3,  /* normal, variance 2 / (I + O) */
    PYNN_INIT_GLOROT_UNIFORM = 4, /* uniform, variance 2 / (I + O) */
    PYNN_INIT_ZEROS = 5
} pynn_init_kind;

/* Fields that the kind does not name must be 0. */
typedef struct pynn_layer {
    int32_t kind;       /* pynn_layer_kind */
    int32_t init;       /* pynn_init_kind of the weight; biases start at 0 */
    size_t inputs;      /* I, at least 1; layers that are not dense take the width they get */
    size_t outputs;     /* O, at least 1 */
    double slope;       /* 0 <= slope <= FLT_MAX */
    double p;           /* 0 <= p < 1 - 2^-17 */
    double epsilon;     /* no kind of this version has it, nor the four below: 0 */
    double deviation;
    double rate_factor;
    int32_t flags;
    uint32_t bins;
    uint64_t reserved[2];
} pynn_layer;

/* What the net should give for the N rows of pynn_data. Either rows or labels; neither where only x is looked at. */
typedef struct pynn_targets {
    const float *rows;     /* (N, O); for cross-entropy rows that are >= 0 and sum to 1 (UNCHECKED) */
    size_t stride;         /* of rows; 0: O */
    const int32_t *labels; /* (N), for PYNN_CROSS_ENTROPY only */
    const float *weights;  /* (N), finite; NULL: 1 each. A row of weight 0 touches no result, if the parameters are
                              finite: its label, target and output weights are not looked at, and inputs that are not
                              finite count as 0 */
    const float *output_weights;  /* (N, O), finite and >= 0: factors of the terms of each row's loss; NULL: 1 each */
    size_t output_weights_stride; /* 0: O */
    int32_t same_output_weights;  /* 1: output_weights is one row (O), for all N */
    int32_t normalise;     /* pynn_normalise: what a batch's loss and gradient are divided by */
    double divisor;        /* PYNN_BY_NUMBER: that number, 0 < divisor <= DBL_MAX; else 0 */
    uint64_t reserved[2];
} pynn_targets;

/* The loss of a batch is sum_r w_r loss_r / D, and its gradient is the gradient of that. */
typedef enum pynn_normalise {
    PYNN_BY_WEIGHTS = 0, /* D = sum_r w_r; weights are >= 0. Where D is 0 so are loss and gradient */
    PYNN_BY_ROWS = 1,    /* D = B, rows of weight 0 counted; weights may be negative */
    PYNN_BY_NUMBER = 2   /* D = divisor; weights may be negative */
} pynn_normalise;

/* N rows that go into a net. */
typedef struct pynn_data {
    const float *x;       /* (N, I) */
    size_t rows;          /* N */
    size_t stride;        /* of x; 0: I */
    int32_t type;         /* element type of x: 0, float */
    int32_t reserved_type;
    pynn_targets targets;
    uint64_t reserved[2];
} pynn_data;

typedef enum pynn_optimizer_kind {
    PYNN_SGD = 0,  /* w -= lr g; with momentum v = mu v + g, w -= lr v; Nesterov w -= lr (mu v + g) */
    PYNN_ADAM = 1, /* Kingma and Ba 2015, both moments bias-corrected */
    PYNN_ADAMW = 2 /* Loshchilov and Hutter 2019: decay apart from the gradient */
} pynn_optimizer_kind;

/* Fields that the kind does not name must be 0. */
typedef struct pynn_optimizer {
    int32_t kind;         /* pynn_optimizer_kind */
    int32_t nesterov;     /* SGD: 0 or 1, which needs momentum > 0 */
    double learning_rate; /* 0 <= lr <= FLT_MAX; 0: 0.01 for SGD, 0.001 for Adam and AdamW */
    double momentum;      /* SGD: 0 <= mu < 1 */
    double beta1, beta2;  /* Adam, AdamW: 0 <= beta < 1 */
    double epsilon;       /* Adam, AdamW: >= 1e-12. Where both betas and epsilon are 0, they mean 0.9, 0.999 and 1e-8;
                             else a beta of 0 is 0 */
    double weight_decay;  /* 0 <= decay <= FLT_MAX; 0: none. SGD and Adam add it times w to g (L2); AdamW shrinks w;
                             biases do not decay */
    double clip_norm;     /* > 0: longest gradient, global L2 norm; 0: no clipping */
    uint64_t reserved[2];
} pynn_optimizer;

/* Optimizers with their defaults: pynn_sgd() is {0} with its learning rate. Change the fields of what they return. */
PYNN_API pynn_optimizer pynn_sgd(void);
PYNN_API pynn_optimizer pynn_adam(void);
PYNN_API pynn_optimizer pynn_adamw(void); /* weight_decay 0.01 */

typedef enum pynn_loss_kind {
    PYNN_LOSS_AUTO = 0,           /* by the last layer: cross-entropy after softmax, binary cross-entropy after sigmoid,
                                     else mean squared error */
    PYNN_SQUARED_ERROR = 1,       /* sum_j v_j (h_j - t_j)^2, v the output weights */
    PYNN_HALF_SQUARED_ERROR = 2,  /* half of it */
    PYNN_MEAN_SQUARED_ERROR = 3,  /* 1/O of it */
    PYNN_CROSS_ENTROPY = 4,       /* -sum_j v_j t_j log h_j, h the softmax of the scores; needs a last softmax */
    PYNN_BINARY_CROSS_ENTROPY = 5 /* -sum_j v_j (t_j log h_j + (1 - t_j) log(1 - h_j)), h the sigmoid of the scores;
                                     needs a last sigmoid */
} pynn_loss_kind;

/* See FULL. */
typedef struct pynn_plan pynn_plan;
typedef struct pynn_executor pynn_executor;

/*
 * A net is a description: numbers and a pointer to the caller's layers, which must outlive it. pynn_net_init fills
 * every field; nothing else does. Where a net's layers are changed afterwards, pynn_plan_init refuses it; a plan that
 * was made before is not touched.
 *
 * All parameters are one flat array of param_count floats: dense layer by dense layer, W (I, O) and then b (O).
 * Gradients, each optimizer moment, averages and best weights have the same shape. Constants, the second flat array,
 * are never trained; no kind of layer of this version has any.
 */
typedef struct pynn_net {
    const pynn_layer *layers;
    size_t layer_count;
    size_t inputs;         /* I of the net: width of a row that goes in */
    size_t outputs;        /* O of the net: width of a row that comes out */
    size_t widest;         /* width of the widest row anywhere */
    size_t param_count;
    size_t constant_count;
    uint64_t private_mark;
} pynn_net;

/* Where training stands. {0} is its start; where steps is 0, powers of 0 mean 1, and others than 0 and 1 are refused.
 * Save it with the parameters and the moments, and training continues to the same bits. */
typedef struct pynn_state {
    uint64_t steps;     /* optimizer steps done */
    double beta1_power; /* beta1^n, n the steps since the moments started at 0 */
    double beta2_power;
} pynn_state;

/* What an epoch's history needs, added up over batches in double, in the order of training; loss / weight is its mean
 * loss. */
typedef struct pynn_totals {
    double loss;   /* sum of w_r loss_r */
    double weight; /* sum of D */
} pynn_totals;

/* How to train, and where training stands. */
typedef struct pynn_trainer {
    pynn_optimizer optimizer;
    int32_t loss;                  /* pynn_loss_kind */
    int32_t shards;                /* 0 or 1; others are refused in this version */
    uint64_t seed;                 /* of the dropout masks */
    float *params;                 /* the array of the plan, which the plan only reads */
    float *moments;                /* as many arrays as pynn_optimizer_moments says, one after the other, at first 0 */
    float *average, *best;         /* averaged and best parameters; NULL in this version, else refused */
    const pynn_executor *executor; /* NULL: the calling thread alone */
    pynn_state state;              /* carries on from call to call */
    pynn_totals totals;            /* added to; set them to 0 where an epoch begins */
    size_t failed_layer;           /* PYNN_PARAMETER_NOT_FINITE: the first layer whose parameters are spoilt */
    uint64_t reserved[4];
} pynn_trainer;

/*
 * A net that learns, all of whose arrays lie in one piece of memory. It works on the calling thread alone.
 * pynn_learner_init fills it: Adam, the loss by the last layer, initial values from seed 0. Before the first training
 * you may change optimizer, loss and seed in `trainer`, and initialise the parameters again; later the learning rate.
 * The parameters are trainer.params, net.param_count floats. Save them with trainer.moments, trainer.state and
 * epochs, put them back, and training continues to the same bits.
 */
typedef struct pynn_learner {
    pynn_net net;
    pynn_trainer trainer;
    const pynn_plan *plan;
    pynn_memory workspace;  /* what the arrays have left of the memory */
    uint32_t epochs;        /* done */
    uint32_t reserved_epochs;
} pynn_learner;

/* Memory of a learner that trains on up to `rows` rows in batches of up to `batch` (0: all of them), and predicts up to
 * `batch` rows at once. */
PYNN_API pynn_status pynn_learner_bytes(size_t *bytes, const pynn_layer *layers, size_t layer_count, size_t rows,
                                        size_t batch);

/* Makes the net, initialises its parameters, and lays out the memory. Layers and memory must outlive it. */
PYNN_API pynn_status pynn_learner_init(pynn_learner *learner, const pynn_layer *layers, size_t layer_count,
                                       pynn_memory memory);

/* One epoch: the rows of data in an order drawn from seed and epoch, in batches; batch 0 means all at once. The mean
 * loss is trainer.totals.loss / trainer.totals.weight afterwards. Errors as pynn_train_steps. */
PYNN_API pynn_status pynn_learner_train(pynn_learner *learner, const pynn_data *data, size_t batch);

/* y (rows, O) for x (rows, I). It uses the workspace of the learner: one call at a time (UNCHECKED). */
PYNN_API pynn_status pynn_learner_predict(float *y, const pynn_learner *learner, const float *x, size_t rows);

/* ==== FULL ======================================================================================================== */

/* ---- net --------------------------------------------------------------------------------------------------------- */

/* Checks the layers (at least one dense, neighbouring widths equal) and fills net. */
PYNN_API pynn_status pynn_net_init(pynn_net *net, const pynn_layer *layers, size_t layer_count);

/* Where the parameters of the dense layer number `layer` start: W at params + *offset, then b. */
PYNN_API pynn_status pynn_net_offset(size_t *offset, const pynn_net *net, size_t layer);

/* Initialises the weights of every dense layer from the seed, and biases with 0. */
PYNN_API pynn_status pynn_params_init(float *params, const pynn_net *net, uint64_t seed);

/* A permutation of 0 .. n-1, the order of the rows in an epoch; n <= 2^32 - 1. */
PYNN_API pynn_status pynn_permutation(uint32_t *order, size_t n, uint64_t seed, uint32_t epoch);

/* ---- plan -------------------------------------------------------------------------------------------------------- */

/* A net with its numbers. */
typedef struct pynn_model {
    const pynn_net *net;
    const float *params;    /* param_count floats, which may lie in flash memory */
    const float *constants; /* constant_count floats; NULL where that is 0 */
    uint64_t reserved[2];
} pynn_model;

/*
 * A model that is ready to run: checked and laid out once, with the instruction set that was chosen then. It lies in
 * the caller's memory, which it needs as long as it is used, and keeps the pointer to params, but not to
 * net or layers. It is const: threads may share it, each with a workspace of its own. Whoever writes to params sees
 * the new values in the next call; not while another thread computes with them (UNCHECKED).
 */
PYNN_API pynn_status pynn_plan_bytes(size_t *bytes, const pynn_net *net);
PYNN_API pynn_status pynn_plan_init(const pynn_plan **plan, const pynn_model *model, pynn_memory memory);

/* ---- predict ----------------------------------------------------------------------------------------------------- */

/* Where a pass ends: at the outputs, or at the scores, which are the input of a final softmax or sigmoid (the
 * outputs, if the net ends otherwise). */
typedef enum pynn_end {
    PYNN_OUTPUTS = 0,
    PYNN_SCORES = 1
} pynn_end;

/* The identity of a dropout mask: masks are a function of these and are never stored. */
typedef struct pynn_mask {
    uint64_t seed;
    uint32_t step;  /* optimizer steps done before this one, modulo 2^32 */
    uint32_t layer; /* dropout layers before this one in the net; where a whole net is passed: 0 */
    uint64_t reserved[1];
} pynn_mask;

/* How a call goes. NULL means {0}: to the outputs, dense, without dropout, on the calling thread. A field that a call
 * does not use must be 0. */
typedef struct pynn_options {
    int32_t end;                   /* pynn_end; not where there is a loss */
    int32_t loss;                  /* pynn_loss_kind, where there is a loss */
    size_t y_stride;               /* pynn_predict, pynn_predict_many: of y; 0: O */
    const pynn_mask *mask;         /* drops out; NULL: does not. Not in prediction */
    const pynn_executor *executor; /* NULL: the calling thread alone */
    uint64_t reserved[2];
} pynn_options;

/* Workspace to predict up to `rows` rows. It grows with the rows up to some hundred, and then no more. */
PYNN_API pynn_status pynn_predict_bytes(size_t *bytes, const pynn_plan *plan, size_t rows, const pynn_options *options);

/* y (N, O) for data->x; targets are not looked at. N may be 0, and pointers to rows then NULL. y must not overlap x. */
PYNN_API pynn_status pynn_predict(float *y, const pynn_plan *plan, const pynn_data *data, const pynn_options *options,
                                  pynn_memory workspace);

/* The same for `count` plans, y[i] for plans[i], which must lie apart (UNCHECKED). data is one, for all plans
 * (data_count 1), or one for each (data_count = count). Workers of the executor take whole nets. */
PYNN_API pynn_status pynn_predict_many_bytes(size_t *bytes, const pynn_plan *const *plans, size_t count,
                                             const pynn_data *data, size_t data_count, const pynn_options *options);
PYNN_API pynn_status pynn_predict_many(float *const *y, const pynn_plan *const *plans, size_t count,
                                       const pynn_data *data, size_t data_count, const pynn_options *options,
                                       pynn_memory workspace);

/* ---- train ------------------------------------------------------------------------------------------------------- */

/* Moment arrays that an optimizer keeps: 0, 1 or 2, each as long as the parameters. */
PYNN_API pynn_status pynn_optimizer_moments(size_t *count, const pynn_optimizer *optimizer);

/* For moments that start afresh, as they must with another kind of optimizer (UNCHECKED): the powers become 1, and
 * steps stay. Set the moments to 0 with it. */
PYNN_API pynn_status pynn_state_restart(pynn_state *state);

/* Which rows make which batch. {0}: all rows in their order, as one batch. */
typedef struct pynn_batches {
    const uint32_t *order;        /* (count) rows of the data; NULL: 0, 1, 2, ... */
    size_t count;                 /* rows of all batches together; 0: all of the data */
    size_t size;                  /* rows of a batch, the last may have fewer; 0: count */
    const double *learning_rates; /* (ceil(count / size)), one for each step, 0 is 0; NULL: that of the optimizer */
    uint64_t reserved[2];
} pynn_batches;

/* Workspace of pynn_train_steps for batches of up to `batch` rows. */
PYNN_API pynn_status pynn_train_bytes(size_t *bytes, const pynn_plan *plan, const pynn_trainer *trainer, size_t batch);

/*
 * An optimizer step for each batch, in one call: step k trains on the rows order[k size .. min((k+1) size, count)) of
 * data, with dropout. Changes params, moments, state and totals. A batch with D = 0 is skipped and not counted.
 * On PYNN_LOSS_NOT_FINITE everything stands as before the failing step; on PYNN_PARAMETER_NOT_FINITE the parameters are
 * spoilt and failed_layer is set. state.steps tells how far it came, a step that spoilt the parameters included.
 */
PYNN_API pynn_status pynn_train_steps(pynn_trainer *trainer, const pynn_plan *plan, const pynn_data *data,
                                      const pynn_batches *batches, pynn_memory workspace);

/* ---- threads ----------------------------------------------------------------------------------------------------- */

/*
 * Who does the work of a call. run calls task(argument, worker) once for each worker 0 .. workers - 1, at the same
 * time or one after the other, and returns when all are done; the calling thread may be one of them. If it leaves a
 * worker out, the call answers PYNN_BAD_EXECUTOR, and what it was to write is spoilt. The library's own executor is
 * made by pynn_threads_start; a program with threads of its own may bring them here. Results do not depend on it.
 */
struct pynn_executor {
    size_t workers; /* at least 1 */
    void *context;
    void (*run)(void *context, void (*task)(void *argument, size_t worker), void *argument);
    uint64_t reserved[2];
};

/* The number of workers that makes training on batches of that many rows fastest, at most `available`: 1 where a step
 * is so short that handing work over would cost more than it saves. */
PYNN_API pynn_status pynn_threads_advise(size_t *workers, const pynn_net *net, size_t batch, size_t available);

/* Memory of an executor on threads of the operating system. */
PYNN_API pynn_status pynn_threads_bytes(size_t *bytes, size_t workers);

/*
 * Starts workers - 1 threads in the caller's memory. Memory and executor must stay where they are until
 * pynn_threads_stop. The threads block all signals; between tasks they spin some 50 microseconds, then sleep. The
 * executor is not to be used by two threads at the same time, nor in the child of a fork, which does not inherit
 * threads (UNCHECKED).
 */
PYNN_API pynn_status pynn_threads_start(pynn_executor *executor, size_t workers, pynn_memory memory);

/* Ends the threads and waits for them. An executor that pynn_threads_start has not made is refused. */
PYNN_API pynn_status pynn_threads_stop(pynn_executor *executor);

/* ==== ADVANCED ==================================================================================================== */

/* ---- gradients of a net ------------------------------------------------------------------------------------------ */

/* Loss of all rows as one batch, and its gradient in every parameter. Both may come out NaN or infinite. */
PYNN_API pynn_status pynn_loss_and_grad_bytes(size_t *bytes, const pynn_plan *plan, const pynn_data *data,
                                              const pynn_options *options);
PYNN_API pynn_status pynn_loss_and_grad(double *loss, float *grads, const pynn_plan *plan, const pynn_data *data,
                                        const pynn_options *options, pynn_memory workspace);

/* dx (N, I), the gradient of that loss in every input; *loss may be left out (NULL). The workspace is that of pynn_vjp
 * too, so its length does not depend on end and loss. */
PYNN_API pynn_status pynn_input_grad_bytes(size_t *bytes, const pynn_plan *plan, const pynn_data *data,
                                           const pynn_options *options);
PYNN_API pynn_status pynn_input_grad(double *loss, float *dx, const pynn_plan *plan, const pynn_data *data,
                                     const pynn_options *options, pynn_memory workspace);

/* dx (N, I), the vector-Jacobian product: row r of dx is dy_r times the Jacobian of the net at row r of x. dy (N, O).
 * Workspace of pynn_input_grad_bytes. */
PYNN_API pynn_status pynn_vjp(float *dx, const float *dy, const pynn_plan *plan, const pynn_data *data,
                              const pynn_options *options, pynn_memory workspace);

/* A forward pass that a backward pass can follow. {0} before the first. */
typedef struct pynn_tape {
    const void *private_pointer[4];
    size_t private_size[4];
    pynn_mask private_mask;
    int32_t private_end;
    int32_t private_state;
} pynn_tape;

/* Workspace of a pynn_forward and the pynn_backward that follows. */
PYNN_API pynn_status pynn_forward_bytes(size_t *bytes, const pynn_plan *plan, size_t rows, const pynn_options *options);

/* y (N, O) for data->x; N is at least 1. Keeps in tape and workspace what pynn_backward needs; until then plan, x and
 * parameters must stay what they are (UNCHECKED). */
PYNN_API pynn_status pynn_forward(float *y, pynn_tape *tape, const pynn_plan *plan, const pynn_data *data,
                                  const pynn_options *options, pynn_memory workspace);

/* From dy (N, O) to the gradients of all parameters and of the inputs; grads or dx (N, I) may be NULL. Once for each
 * pynn_forward, and not after another call was given its workspace: else PYNN_BAD_ORDER. */
PYNN_API pynn_status pynn_backward(float *grads, float *dx, const float *dy, pynn_tape *tape,
                                   const pynn_executor *executor);

/* A batch that comes in parts, because it does not fit in memory. Starts as {.rows = B}, with its other fields 0. */
typedef struct pynn_accumulation {
    size_t rows;   /* B, of the whole batch */
    size_t done;   /* rows of the parts so far */
    double loss;   /* sum of w_r loss_r so far; when done is B, loss / D is the loss of the batch */
    double private_divisor;
    const float *private_grads;
    uint64_t reserved[2];
} pynn_accumulation;

/*
 * pynn_loss_and_grad for the next part of a batch: data has the rows of the part alone. Its targets are divided by a
 * number (PYNN_BY_NUMBER): by that of the whole batch, such as the sum of its weights in double in the order of its
 * rows. Each part but the last has a multiple of 256 rows; all parts have the same divisor and grads. Parts of more
 * than B rows together are refused. Where done is 0, grads are overwritten; else they are added to. After the last
 * part they have the bits of the whole batch.
 */
PYNN_API pynn_status pynn_accumulate_bytes(size_t *bytes, const pynn_plan *plan, const pynn_options *options);
PYNN_API pynn_status pynn_accumulate(pynn_accumulation *accumulation, float *grads, const pynn_plan *plan,
                                     const pynn_data *data, const pynn_options *options, pynn_memory workspace);

/* One optimizer step on given gradients, with this learning rate (0 is 0); trainer and errors as in pynn_train_steps. 
 * */
PYNN_API pynn_status pynn_update(pynn_trainer *trainer, const pynn_plan *plan, const float *grads,
                                 double learning_rate);

/* ---- layers, each alone ------------------------------------------------------------------------------------------ */

/* A dense layer outside a net. */
typedef struct pynn_dense {
    const float *w; /* (I, O) */
    const float *b; /* (O) */
    size_t inputs, outputs;
    uint64_t reserved[1];
} pynn_dense;

/* s (N, O) = x W + b for data->x. */
PYNN_API pynn_status pynn_dense_forward(float *s, const pynn_dense *dense, const pynn_data *data);

/* dx (N, I) = ds W^T, dw = x^T ds, db = the sum of the rows of ds. Any of dx, dw, db may be NULL. dense->w and the
 * workspace are needed for dx only, dense->b never. */
PYNN_API pynn_status pynn_dense_backward_bytes(size_t *bytes, const pynn_dense *dense);
PYNN_API pynn_status pynn_dense_backward(float *dx, float *dw, float *db, const float *ds, const pynn_dense *dense,
                                         const pynn_data *data, pynn_memory workspace);

/* Initialises one dense layer; `number` counts the dense layers before it in its net. What comes behind it is not
 * known: PYNN_INIT_AUTO means glorot_uniform. */
PYNN_API pynn_status pynn_dense_init(float *w, float *b, const pynn_layer *dense, uint64_t seed, uint32_t number);

/* a = f(s) for n elements, f an activation from PYNN_IDENTITY to PYNN_SILU; in place allowed. */
PYNN_API pynn_status pynn_activation_forward(float *a, const float *s, size_t n, const pynn_layer *activation);

/* ds = da f'(s), from the score s and the activation a; in place on da allowed. */
PYNN_API pynn_status pynn_activation_backward(float *ds, const float *da, const float *s, const float *a, size_t n,
                                              const pynn_layer *activation);

/* h = softmax of each row of s; in place allowed. */
PYNN_API pynn_status pynn_softmax_forward(float *h, const float *s, size_t rows, size_t width);

/* ds_j = h_j (dh_j - sum_k dh_k h_k) per row; in place on dh allowed. */
PYNN_API pynn_status pynn_softmax_backward(float *ds, const float *dh, const float *h, size_t rows, size_t width);

/* y = x times the mask, 0 or 65536 / (65536 - floor(65536 p + 0.5)); in place allowed. */
PYNN_API pynn_status pynn_dropout_forward(float *y, const float *x, const pynn_mask *mask, size_t rows, size_t width,
                                          double p);
PYNN_API pynn_status pynn_dropout_backward(float *dx, const float *dy, const pynn_mask *mask, size_t rows, size_t width,
                                           double p);

/*
 * The loss of a batch of data->rows rows, and its gradient ds (B, O); ds may be NULL, and so may data->x. y (B, O)
 * holds scores for the cross-entropies and outputs for the squared errors. losses (B) gets the loss of each row,
 * unweighted; what it gets for a row of weight 0 has no meaning. PYNN_LOSS_AUTO is refused: there is no last layer.
 */
PYNN_API pynn_status pynn_loss(double *loss, float *losses, float *ds, const float *y, const pynn_data *data,
                               size_t outputs, int32_t kind);

/* ---- random words ------------------------------------------------------------------------------------------------ */

/* Elements first .. first + n of a stream of random words. Streams below 3 << 24 are the library's own: the initial
 * values (0 << 24 | dense layer), the shuffling (1 << 24) and the dropout masks (2 << 24 | dropout layer). */
PYNN_API pynn_status pynn_random_words(uint32_t *words, size_t n, uint64_t first, uint64_t seed, uint32_t step,
                                       uint32_t stream);

/* ---- instruction sets -------------------------------------------------------------------------------------------- */

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

/* Forces one, or PYNN_NO_ISA; results do not change, only their speed. Plans that were made before keep theirs. */
PYNN_API pynn_status pynn_isa_set(int32_t isa);

/* "scalar", "sse2", "avx2", "avx512", "neon", or NULL beyond the last. */
PYNN_API const char *pynn_isa_name(int32_t isa);

/* Why functions that compute return PYNN_BAD_ARITHMETIC: which rule of docs/arithmetic.md is broken, and how. NULL if
 * the instruction set that is chosen, or else wanted, keeps the contract, even where pynn_isa_set has refused
 * another. */
PYNN_API const char *pynn_broken_rule(void);

/* ---- self-test --------------------------------------------------------------------------------------------------- */

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
                                   pynn_memory workspace);

/* binding: end */

#ifdef __cplusplus
}
#endif

#endif
