/* pynn.h from C++: included twice, its types and constants used, its functions linked; the version says the same in all
 * its places. */
#include "pynn.h"
#include "pynn.h"

#include <cstdio>
#include <cstring>
#include <vector>

static_assert(PYNN_OK == 0 && PYNN_SILU == 8 && PYNN_ISA_NEON == 4, "constants are plain integers");
static_assert(sizeof(pynn_layer) == 2 * sizeof(size_t) + 5 * sizeof(double) + 16 + 16,
              "a layer has no hidden fields");
static_assert(PYNN_VERSION_NUMBER == PYNN_VERSION_MAJOR * 10000 + PYNN_VERSION_MINOR * 100 + PYNN_VERSION_PATCH,
              "one version");

static int checks, failures;

static void check(bool holds, const char *text)
{
    checks++;
    if (!holds) {
        failures++;
        std::printf("test_header.cpp: %s\n", text);
    }
}

/* A memory of its own, which starts where it must. */
class room
{
public:
    explicit room(size_t bytes) : kept(bytes + PYNN_MEMORY_ALIGNMENT), length(bytes) {}
    operator pynn_memory()
    {
        unsigned char *start = kept.data();
        start += (PYNN_MEMORY_ALIGNMENT - reinterpret_cast<uintptr_t>(start) % PYNN_MEMORY_ALIGNMENT) %
                 PYNN_MEMORY_ALIGNMENT;
        const pynn_memory memory = {start, length};
        return memory;
    }

private:
    std::vector<unsigned char> kept;
    size_t length;
};

static void test_version()
{
    char text[40];
    std::snprintf(text, sizeof text, "%d.%d.%d", PYNN_VERSION_MAJOR, PYNN_VERSION_MINOR, PYNN_VERSION_PATCH);
    check(std::strcmp(pynn_version(), text) == 0, "pynn_version");
    check(pynn_version_number() == PYNN_VERSION_NUMBER, "pynn_version_number");
    check(pynn_contract() == PYNN_CONTRACT, "pynn_contract");
}

static void test_predict()
{
    pynn_layer layers[2] = {};
    layers[0].inputs = 2;
    layers[0].outputs = 1;
    layers[1].kind = PYNN_RELU;
    const std::vector<float> params = {1.0f, 2.0f, 0.5f}, x = {3.0f, 4.0f};
    pynn_net net;
    size_t bytes = 0;
    float y = 0.0f;
    check(pynn_net_init(&net, layers, 2) == PYNN_OK, "pynn_net_init");
    check(net.param_count == params.size(), "param_count");
    check(pynn_plan_bytes(&bytes, &net) == PYNN_OK, "pynn_plan_bytes");
    room plan_room(bytes);
    pynn_model model = {};
    model.net = &net;
    model.params = params.data();
    const pynn_plan *plan = nullptr;
    check(pynn_plan_init(&plan, &model, plan_room) == PYNN_OK, "pynn_plan_init");
    check(pynn_predict_bytes(&bytes, plan, 1, nullptr) == PYNN_OK, "pynn_predict_bytes");
    room workspace(bytes);
    pynn_data data = {};
    data.x = x.data();
    data.rows = 1;
    check(pynn_predict(&y, plan, &data, nullptr, workspace) == PYNN_OK, "pynn_predict");
    check(y == 11.5f, "3 * 1 + 4 * 2 + 0.5");
    check(pynn_status_code(pynn_predict(&y, nullptr, &data, nullptr, workspace)) == PYNN_NULL_POINTER, "no plan");
}

static void test_learner()
{
    pynn_layer layers[1] = {};
    layers[0].inputs = layers[0].outputs = 1;
    const float x[] = {1.0f, 2.0f}, t[] = {3.0f, 5.0f};
    float y[2] = {0.0f, 0.0f};
    size_t bytes = 0;
    check(pynn_learner_bytes(&bytes, layers, 1, 2, 2) == PYNN_OK, "pynn_learner_bytes");
    room memory(bytes);
    pynn_learner learner;
    check(pynn_learner_init(&learner, layers, 1, memory) == PYNN_OK, "pynn_learner_init");
    pynn_data data = {};
    data.x = x;
    data.rows = 2;
    data.targets.rows = t;
    learner.trainer.optimizer = pynn_adam();
    learner.trainer.optimizer.learning_rate = 0.1;
    for (int epoch = 0; epoch < 400; epoch++) check(pynn_learner_train(&learner, &data, 0) == PYNN_OK, "train");
    check(pynn_learner_predict(y, &learner, x, 2) == PYNN_OK, "predict");
    check(y[0] > 2.9f && y[0] < 3.1f && y[1] > 4.9f && y[1] < 5.1f, "2 x + 1");
}

int main()
{
    test_version();
    test_predict();
    test_learner();
    check(std::strlen(pynn_status_text(PYNN_BAD_NET)) > 0, "pynn_status_text");
    check(pynn_isa_name(PYNN_ISA_SCALAR) != nullptr, "pynn_isa_name");
    if (failures == 0) std::printf("test_header: %d checks passed\n", checks);
    return failures != 0;
}
