/* pynn.h from C++: included twice, its types and constants used, its functions linked. */
#include "pynn.h"
#include "pynn.h"

#include <cstdio>
#include <cstring>
#include <vector>

static_assert(PYNN_OK == 0 && PYNN_SILU == 8 && PYNN_ISA_NEON == 4, "constants are plain integers");
static_assert(sizeof(pynn_layer) == 8 + 2 * sizeof(size_t) + sizeof(double), "a layer has no hidden fields");

static int checks, failures;

static void check(bool holds, const char *text)
{
    checks++;
    if (!holds) {
        failures++;
        std::printf("test_header.cpp: %s\n", text);
    }
}

int main()
{
    const pynn_layer layers[] = {{PYNN_DENSE, PYNN_INIT_AUTO, 2, 1, 0.0}, {PYNN_RELU, 0, 0, 0, 0.0}};
    const std::vector<float> params = {1.0f, 2.0f, 0.5f}, x = {3.0f, 4.0f};
    pynn_net net;
    size_t bytes = 0;
    float y = 0.0f;
    check(pynn_net_init(&net, layers, 2) == PYNN_OK, "pynn_net_init");
    check(net.param_count == params.size(), "param_count");
    check(pynn_predict_bytes(&bytes, &net, 1) == PYNN_OK, "pynn_predict_bytes");
    std::vector<unsigned char> memory(bytes + PYNN_WORKSPACE_ALIGNMENT);
    unsigned char *work = memory.data();
    work += (PYNN_WORKSPACE_ALIGNMENT - reinterpret_cast<uintptr_t>(work) % PYNN_WORKSPACE_ALIGNMENT) %
            PYNN_WORKSPACE_ALIGNMENT;
    check(pynn_predict(&y, &net, params.data(), x.data(), 2, 1, PYNN_OUTPUTS, NULL, work, bytes) == PYNN_OK, "pynn_predict");
    check(y == 11.5f, "3 * 1 + 4 * 2 + 0.5");
    check(std::strlen(pynn_status_text(PYNN_BAD_NET)) > 0, "pynn_status_text");
    check(pynn_isa_name(PYNN_ISA_SCALAR) != nullptr, "pynn_isa_name");
    if (failures == 0) std::printf("test_header: %d checks passed\n", checks);
    return failures != 0;
}
