/* A Cortex-M4F that hears a file: samples come and steps go by semihosting, and what it took is printed. */
#include <stdint.h>

#include "kws.h"

enum { OPEN = 1, WRITE = 5, READ = 6, EXIT = 0x18, STOPPED = 0x20026, PAINT = 0x5afe5afe };
#define SYSTICK ((volatile uint32_t *)0xe000e010)
#define CPACR (*(volatile uint32_t *)0xe000ed88)
#define CHUNK 160

extern uint32_t stack_bottom[], stack_top[];
static kws_state stream;
static kws_step steps[KWS_FLUSH_STEPS];
static int16_t samples[CHUNK];

static int host(int what, const void *with) {
    register int r0 __asm__("r0") = what;
    register const void *r1 __asm__("r1") = with;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static int opened(const char *name, int length, int mode) {
    uintptr_t with[3] = {(uintptr_t)name, (uintptr_t)mode, (uintptr_t)length};
    return host(OPEN, with);
}

static void put(int file, const void *data, uint32_t size) {
    uintptr_t with[3] = {(uintptr_t)file, (uintptr_t)data, size};
    host(WRITE, with);
}

int main(void) {
    int audio = opened("audio.raw", 9, 1), found = opened("steps.bin", 9, 5);
    uint64_t ticks = 0;
    SYSTICK[1] = 0xffffff;
    SYSTICK[0] = 5; /* counts the processor's clock down */
    kws_init(&stream);
    for (int more = 1; more;) {
        uintptr_t with[3] = {(uintptr_t)audio, (uintptr_t)samples, sizeof samples};
        int count = (int)(sizeof samples - (uint32_t)host(READ, with)) / 2;
        uint32_t start = SYSTICK[2];
        more = count > 0;
        int heard = more ? kws_push_int16(&stream, samples, (size_t)count, steps) : kws_flush(&stream, steps);
        ticks += (start - SYSTICK[2]) & 0xffffff;
        put(found, steps, (uint32_t)heard * sizeof steps[0]);
    }
    uint32_t *untouched = stack_bottom;
    while (*untouched == PAINT) untouched++;
    uint64_t stack = (uint64_t)((char *)stack_top - (char *)untouched);
    uint64_t taken[4] = {ticks, stack, sizeof stream, sizeof stream.audio};
    put(opened("taken.bin", 9, 5), taken, sizeof taken);
    host(EXIT, (void *)STOPPED);
    return 0;
}

void reset(void) {
    CPACR |= 0xf << 20; /* the floating-point unit is off at first */
    __asm__ volatile("dsb\nisb");
    uint32_t *here;
    __asm__ volatile("mov %0, sp" : "=r"(here));
    for (uint32_t *word = stack_bottom; word < here - 16; word++) *word = PAINT;
    main();
}

static void fault(void) { host(EXIT, (void *)0x20023); }

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, reset, fault, fault, fault, fault, fault};
