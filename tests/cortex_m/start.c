/* What a Cortex-M4F needs before main: a stack, and its floating-point unit turned on. */
#include <stdint.h>

extern void _start(void);
extern char stack_top;

static void reset(void)
{
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20; /* CPACR: full access to the unit */
    __asm__ volatile("dsb\n\tisb");
    _start();
}

__attribute__((section(".vectors"), used)) static void *const vectors[] = {&stack_top, (void *)reset};
