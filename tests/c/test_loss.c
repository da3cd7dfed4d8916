/*
 * Losses against their formulas in double: values, gradients, the sum over rows with weights, and scores at which a
 * formula taken literally overflows. The bits are the business of tests/c/test_kernels.c.
 */
#include "check.h"

enum { MOST = 4096, MOST_ROWS = 256 };
static float y[MOST], t[MOST], ds[MOST], losses[MOST_ROWS], weights[MOST_ROWS];
static int32_t labels[MOST_ROWS];

/* The loss of the first rows of y. */
static pynn_status loss_of(double *loss, float *l, float *d, const pynn_targets *targets, size_t rows, size_t n,
                           int32_t kind)
{
    const pynn_data data = {.rows = rows, .targets = *targets};
    return pynn_loss(loss, l, d, y, &data, n, kind);
}

/* The loss of a row and its derivative, in double. */
static double exact(double *d, const float *s, const float *goal, size_t n, int32_t kind)
{
    double loss = 0.0, largest = -(double)INFINITY, sum = 0.0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, (double)s[i]);
    for (size_t i = 0; i < n; i++) sum += exp((double)s[i] - largest);
    for (size_t i = 0; i < n; i++) {
        const double a = (double)s[i], b = (double)goal[i];
        switch (kind) {
        case PYNN_SQUARED_ERROR:
            loss += (a - b) * (a - b);
            d[i] = 2.0 * (a - b);
            break;
        case PYNN_HALF_SQUARED_ERROR:
            loss += 0.5 * (a - b) * (a - b);
            d[i] = a - b;
            break;
        case PYNN_MEAN_SQUARED_ERROR:
            loss += (a - b) * (a - b) / (double)n;
            d[i] = 2.0 * (a - b) / (double)n;
            break;
        case PYNN_CROSS_ENTROPY:
            if (b > 0.0) loss += b * (log(sum) - (a - largest));
            d[i] = exp(a - largest) / sum - b;
            break;
        default:
            loss += fmax(a, 0.0) - a * b + log1p(exp(-fabs(a)));
            d[i] = 1.0 / (1.0 + exp(-a)) - b;
            break;
        }
    }
    return loss;
}

/*
 * Row values within 8 eps of their terms, gradients within 4 eps (times the scale of the row), totals within 8 eps.
 * Scores beyond the range of float stay out of the sum.
 */
static void compare(const pynn_targets *targets, size_t rows, size_t n, int32_t kind)
{
    const double eps = 0x1p-23;
    double loss = -1.0, total = 0.0, weight = 0.0, sum = 0.0, size = 0.0;
    CHECK_OK(loss_of(&loss, losses, ds, targets, rows, n, kind));
    for (size_t r = 0; r < rows; r++) weight += targets->weights != NULL ? (double)targets->weights[r] : 1.0;
    for (size_t r = 0; r < rows; r++) {
        double d[MOST], terms = 1.0, row;
        float onehot[MOST] = {0};
        const double w = targets->weights != NULL ? (double)targets->weights[r] : 1.0;
        const float *goal = targets->rows != NULL ? targets->rows + r * n : onehot;
        if (!(w > 0.0)) {
            for (size_t i = 0; i < n; i++) CHECK(bits_of(ds[r * n + i]) == 0, "element %zu of row %zu", i, r);
            continue;
        }
        if (targets->labels != NULL) onehot[targets->labels[r]] = 1.0f;
        row = exact(d, y + r * n, goal, n, kind);
        if (kind == PYNN_BINARY_CROSS_ENTROPY)
            for (size_t i = 0; i < n; i++) terms += fabs((double)y[r * n + i]) * (1.0 + fabs((double)goal[i]));
        terms += fabs(row);
        if (row > (double)FLT_MAX) CHECK(losses[r] > FLT_MAX, "row %zu is %g, not infinite", r, (double)losses[r]);
        else CHECK_NEAR((double)losses[r], row, 8.0 * eps * terms);
        for (size_t i = 0; i < n; i++) {
            const double scale = weight > 0.0 ? w / weight : 0.0, kappa = kind == PYNN_SQUARED_ERROR ? 2.0 : 1.0;
            CHECK_NEAR((double)ds[r * n + i], d[i] * scale, 4.0 * eps * kappa * scale * (1.0 + fabs(d[i])));
        }
        sum += w * (double)losses[r];
        total += w * row;
        size += w * terms;
    }
    if (sum <= (double)FLT_MAX)
        CHECK_NEAR(loss, weight > 0.0 ? total / weight : 0.0, 8.0 * eps * (1.0 + size / weight));
    CHECK_NEAR(loss, weight > 0.0 ? sum / weight : 0.0, 1e-15 * fabs(sum));
}

static void test_formulas(void)
{
    static const size_t shapes[][2] = {{1, 1}, {1, 5}, {3, 2}, {17, 10}, {64, 3}, {5, 100}, {256, 16}, {4, 1000}};
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        for (size_t k = 0; k < COUNT(shapes); k++) {
            const size_t rows = shapes[k][0], n = shapes[k][1];
            for (int way = 0; way < 4; way++) {
                const int labelled = kind == PYNN_CROSS_ENTROPY && way % 2 == 1;
                const pynn_targets targets = {.rows = labelled ? NULL : t, .labels = labelled ? labels : NULL,
                                              .weights = way >= 2 ? weights : NULL};
                check_case("loss %d, %zu x %zu, way %d", kind, rows, n, way);
                fill_any(y, rows * n, -8.0f, 8.0f);
                fill_any(t, rows * n, 0.0f, 1.0f);
                fill_any(weights, rows, 0.0f, 3.0f);
                weights[any_below(rows)] = 1.5f; /* not all 0 */
                if (rows > 2) weights[2] = 0.0f;
                for (size_t r = 0; r < rows; r++) {
                    float sum = 0.0f;
                    labels[r] = (int32_t)any_below(n);
                    for (size_t i = 0; i < n; i++) sum += t[r * n + i];
                    for (size_t i = 0; kind == PYNN_CROSS_ENTROPY && i < n; i++) t[r * n + i] /= sum;
                }
                compare(&targets, rows, n, kind);
            }
        }
    }
}

static const float extremes[] = {0.0f, -0.0f, 50.0f, -50.0f, 1e4f, -1e4f, 3e38f, -3e38f};

static void test_extremes(void)
{
    enum { PAIRS = COUNT(extremes) * COUNT(extremes) };
    const pynn_targets by_label = {.labels = labels}, by_row = {.rows = t};
    for (int32_t label = 0; label < 2; label++) {
        for (size_t r = 0; r < PAIRS; r++) {
            y[2 * r] = extremes[r / COUNT(extremes)];
            y[2 * r + 1] = extremes[r % COUNT(extremes)];
            labels[r] = label;
            t[2 * r] = (float)(1 - label);
            t[2 * r + 1] = (float)label;
        }
        check_case("extreme scores, label %d", label);
        compare(&by_label, PAIRS, 2, PYNN_CROSS_ENTROPY);
        compare(&by_row, PAIRS, 2, PYNN_CROSS_ENTROPY);
        for (size_t r = 0; r < PAIRS; r++) /* a row's softmax less its target */
            CHECK_NEAR((double)ds[2 * r] + (double)ds[2 * r + 1], 0.0, 0x1p-22 / PAIRS);
        compare(&by_row, PAIRS, 2, PYNN_BINARY_CROSS_ENTROPY);
    }
    check_case("a score that counts for nothing");
    y[0] = -INFINITY, y[1] = 1.0f, t[0] = 0.0f, t[1] = 1.0f;
    compare(&by_row, 1, 2, PYNN_CROSS_ENTROPY);
    CHECK(losses[0] <= 0.0f && losses[0] >= 0.0f, "%g", (double)losses[0]);
    y[0] = -200.0f, t[0] = 1.0f; /* binary: the loss is the score */
    compare(&by_row, 1, 1, PYNN_BINARY_CROSS_ENTROPY);
}

/* A NaN or an infinite maximum in one row stays in that row. */
static void test_rows_apart(void)
{
    static const float spoilers[] = {NAN, INFINITY};
    enum { N = 19, ROWS = 9 };
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        for (int n = 3; n <= N; n += 16) {
            for (size_t k = 0; k < COUNT(spoilers); k++) {
                const size_t width = (size_t)n;
                const pynn_targets rows = {.rows = t}, by_label = {.labels = labels};
                for (int labelled = 0; labelled <= (kind == PYNN_CROSS_ENTROPY); labelled++) {
                    float d[ROWS * N], l[ROWS];
                    double loss;
                    check_case("loss %d, width %zu, one row with %g", kind, width, (double)spoilers[k]);
                    fill_any(y, ROWS * width, -4.0f, 4.0f);
                    fill_any(t, ROWS * width, 0.0f, 1.0f);
                    for (size_t r = 0; r < ROWS; r++) labels[r] = (int32_t)(r % width);
                    CHECK_OK(loss_of(&loss, l, d, labelled ? &by_label : &rows, ROWS, width, kind));
                    y[4 * width + 1] = spoilers[k];
                    CHECK_OK(loss_of(&loss, losses, ds, labelled ? &by_label : &rows, ROWS, width, kind));
                    CHECK(!(fabs(loss) <= DBL_MAX), "the loss is %g", loss);
                    CHECK(!(fabsf(losses[4]) <= FLT_MAX), "the row's loss is %g", (double)losses[4]);
                    for (size_t r = 0; r < ROWS; r++) {
                        if (r == 4) continue;
                        CHECK_SAME(&losses[r], &l[r], 1);
                        CHECK_SAME(ds + r * width, d + r * width, width);
                    }
                }
            }
        }
    }
}

static void test_weights(void)
{
    enum { ROWS = 6, N = 4 };
    const pynn_targets plain = {.rows = t}, weighted = {.rows = t, .weights = weights};
    fill_any(y, ROWS * N, -2.0f, 2.0f);
    fill_any(t, ROWS * N, 0.0f, 1.0f);
    for (int32_t kind = PYNN_SQUARED_ERROR; kind <= PYNN_BINARY_CROSS_ENTROPY; kind++) {
        float d[ROWS * N], l[ROWS];
        double loss = -1.0, other = -1.0;
        check_case("weights of loss %d", kind);
        CHECK_OK(loss_of(&loss, l, d, &plain, ROWS, N, kind));
        for (size_t r = 0; r < ROWS; r++) weights[r] = 2.0f; /* only ratios count */
        CHECK_OK(loss_of(&other, losses, ds, &weighted, ROWS, N, kind));
        CHECK_SAME_DOUBLE(other, loss);
        CHECK_SAME(losses, l, ROWS);
        CHECK_SAME(ds, d, ROWS * N);

        for (size_t r = 0; r < ROWS; r++) weights[r] = r < 3 ? 1.0f : 0.0f; /* a weight of 0 removes a row */
        CHECK_OK(loss_of(&loss, l, d, &plain, 3, N, kind));
        CHECK_OK(loss_of(&other, losses, ds, &weighted, ROWS, N, kind));
        CHECK_SAME_DOUBLE(other, loss);
        CHECK_SAME(ds, d, 3 * N);
        for (size_t i = 3 * N; i < ROWS * N; i++) CHECK(bits_of(ds[i]) == 0, "element %zu is %g", i, (double)ds[i]);

        memset(weights, 0, sizeof weights);
        CHECK_OK(loss_of(&other, losses, ds, &weighted, ROWS, N, kind));
        CHECK_SAME_DOUBLE(other, 0.0);
        for (size_t i = 0; i < ROWS * N; i++) CHECK(bits_of(ds[i]) == 0, "element %zu is %g", i, (double)ds[i]);
    }
}

/* Labels and one-hot rows are the same loss to the bit of the gradient. */
static void test_labels(void)
{
    enum { ROWS = 11 };
    for (size_t n = 1; n <= 40; n++) {
        float d[ROWS * 40], l[ROWS];
        double loss = -1.0, other = -1.0;
        check_case("labels, %zu classes", n);
        memset(t, 0, ROWS * n * sizeof *t);
        fill_any(y, ROWS * n, -9.0f, 9.0f);
        for (size_t r = 0; r < ROWS; r++) {
            labels[r] = (int32_t)any_below(n);
            t[r * n + (size_t)labels[r]] = 1.0f;
        }
        CHECK_OK(loss_of(&loss, l, d, &(pynn_targets){.labels = labels}, ROWS, n, PYNN_CROSS_ENTROPY));
        CHECK_OK(loss_of(&other, losses, ds, &(pynn_targets){.rows = t}, ROWS, n, PYNN_CROSS_ENTROPY));
        CHECK_SAME(losses, l, ROWS);
        CHECK_SAME(ds, d, ROWS * n);
        CHECK_SAME_DOUBLE(other, loss);
    }
}

static void test_all(void)
{
    test_formulas();
    test_extremes();
    test_rows_apart();
    test_weights();
    test_labels();
}

int main(void)
{
    every_isa(test_all);
    return check_end("test_loss");
}
