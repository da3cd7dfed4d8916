/* Status codes as text, and the version. */
#include "internal.h"

#define TEXT_OF(x) #x
#define VERSION_TEXT(major, minor, patch) TEXT_OF(major) "." TEXT_OF(minor) "." TEXT_OF(patch)

static const char *const texts[] = {
    [PYNN_OK] = "success",
    [PYNN_NULL_POINTER] = "a required pointer is NULL",
    [PYNN_BAD_KIND] = "a layer, loss, optimizer or initialisation is unknown or does not fit",
    [PYNN_BAD_SIZE] = "a size is zero, widths do not match, or a stride is shorter than its row",
    [PYNN_TOO_LARGE] = "a size does not fit in memory",
    [PYNN_BAD_VALUE] = "a hyper-parameter is outside its range",
    [PYNN_BAD_NET] = "the loss needs a last layer that the net does not have",
    [PYNN_BAD_LABEL] = "a class label is outside 0 .. outputs - 1",
    [PYNN_BAD_WEIGHT] = "a sample weight is negative or not finite",
    [PYNN_BAD_INDEX] = "an index is beyond the rows or layers, or a part does not begin at a multiple of 256 rows",
    [PYNN_BAD_WORKSPACE] = "the workspace is too short or not 64-byte aligned",
    [PYNN_LOSS_NOT_FINITE] = "the loss is NaN or infinite",
    [PYNN_PARAMETER_NOT_FINITE] = "an update made a parameter NaN or infinite",
    [PYNN_BAD_ARITHMETIC] = "this build or machine breaks the arithmetic contract",
    [PYNN_NO_ISA] = "this build or machine lacks the instruction set",
    [PYNN_NO_THREADS] = "threads could not be started, or this build has none",
};
_Static_assert(sizeof texts / sizeof texts[0] == PYNN_NO_THREADS + 1, "every status has a text");

const char *pynn_status_text(int32_t status)
{
    if (status < 0 || status > PYNN_NO_THREADS) return "unknown status";
    return texts[status];
}

const char *pynn_version(void)
{
    return VERSION_TEXT(PYNN_VERSION_MAJOR, PYNN_VERSION_MINOR, PYNN_VERSION_PATCH);
}
