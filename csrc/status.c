/* Status codes and arguments as text, and the version. */
#include "internal.h"

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

_Static_assert(PYNN_VERSION_NUMBER == PYNN_VERSION_MAJOR * 10000 + PYNN_VERSION_MINOR * 100 + PYNN_VERSION_PATCH,
               "one version");

static const char *const status_texts[] = {
    [PYNN_OK] = "success",
    [PYNN_NULL_POINTER] = "a required pointer is NULL",
    [PYNN_BAD_KIND] = "a kind is unknown, left out of this build, or does not fit",
    [PYNN_BAD_SIZE] = "a size is zero, widths do not match, or a stride is shorter than its row",
    [PYNN_TOO_LARGE] = "a size does not fit in memory",
    [PYNN_BAD_VALUE] = "a number is outside its range, or a reserved field is not 0",
    [PYNN_BAD_NET] = "the loss needs a last layer that the net lacks, or the net or plan was not made or has changed",
    [PYNN_BAD_LABEL] = "a class label is outside 0 .. outputs - 1",
    [PYNN_BAD_WEIGHT] = "a weight is not finite, or negative where weights are divided by their sum",
    [PYNN_BAD_INDEX] = "an index is beyond the rows, layers or runs",
    [PYNN_BAD_MEMORY] = "the memory is too short, does not start at a multiple of 64 bytes, or overlaps",
    [PYNN_BAD_ORDER] = "the call does not fit the calls before it",
    [PYNN_BAD_EXECUTOR] = "the executor has left workers out, or is not one of pynn_threads_start",
    [PYNN_LOSS_NOT_FINITE] = "the loss or a factor of its gradient is NaN or infinite",
    [PYNN_PARAMETER_NOT_FINITE] = "an update made a parameter NaN or infinite",
    [PYNN_BAD_ARITHMETIC] = "this build or machine breaks the arithmetic contract",
    [PYNN_NO_ISA] = "this build or machine lacks the instruction set",
    [PYNN_NO_THREADS] = "threads could not be started, or this build has none",
};
_Static_assert(sizeof status_texts / sizeof status_texts[0] == PYNN_NO_THREADS + 1, "every status has a text");

#define ARGUMENT_TEXT(name, text) text,
static const char *const argument_texts[] = {PYNNI_ARGUMENT_LIST(ARGUMENT_TEXT)};
_Static_assert(PYNNI_ARGUMENTS <= 256, "an argument has 8 bits of a status");

int32_t pynn_status_code(pynn_status status) { return (int32_t)((uint32_t)status & 0xFFu); }

const char *pynn_status_text(pynn_status status)
{
    const int32_t code = pynn_status_code(status);
    return status < 0 || code > PYNN_NO_THREADS ? "unknown status" : status_texts[code];
}

const char *pynn_status_argument(pynn_status status)
{
    const uint32_t argument = (uint32_t)status >> 8 & 0xFFu;
    return argument < PYNNI_ARGUMENTS ? argument_texts[argument] : "";
}

int32_t pynn_status_layer(pynn_status status) { return (int32_t)((uint32_t)status >> 16) - 1; }

const char *pynn_version(void)
{
    return VERSION_TEXT(PYNN_VERSION_MAJOR, PYNN_VERSION_MINOR, PYNN_VERSION_PATCH);
}

int32_t pynn_version_number(void) { return PYNN_VERSION_NUMBER; }

int32_t pynn_contract(void) { return PYNN_CONTRACT; }
