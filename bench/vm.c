//! Laid before the C library of User-mode Linux (`bench/vm`): mends one fault of it, and slows its clock.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <time.h>

/// The clock inside runs so many times slower than the one outside. A system call costs many times more in
/// there, and there is one processor: in real time it would be kept busy by pings, and clients be cut off.
enum { SLOWER = 4 };
enum { STATE_BYTES = 16384, STATES_MAX = 8192 };
static const long long SECOND = 1000000000;

static long (*real_ptrace)(enum __ptrace_request, long, void *, void *);
static int (*real_gettime)(clockid_t, struct timespec *);
static int (*real_settime)(timer_t, int, const struct itimerspec *, struct itimerspec *);

/// The whole vector state of a thread, by where the kernel inside keeps its part of it.
static struct {
    void *of;
    size_t size;
    char bytes[STATE_BYTES];
} states[STATES_MAX];

__attribute__((constructor)) static void begin(void)
{
    real_ptrace = dlsym(RTLD_NEXT, "ptrace");
    real_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    real_settime = dlsym(RTLD_NEXT, "timer_settime");
}

static long vector_state(enum __ptrace_request what, long pid, struct iovec *asked)
{
    void *kind = (void *)NT_X86_XSTATE;
    size_t slot = ((size_t)asked->iov_base >> 6) % STATES_MAX;
    for (int tries = 0; states[slot].of && states[slot].of != asked->iov_base && tries < STATES_MAX; tries++)
        slot = (slot + 1) % STATES_MAX;
    int known = states[slot].of == asked->iov_base;
    struct iovec whole = {states[slot].bytes, STATE_BYTES};
    states[slot].of = asked->iov_base;
    if (what == PTRACE_GETREGSET || !known) {
        long got = real_ptrace(PTRACE_GETREGSET, pid, kind, &whole);
        if (got < 0)
            return got;
        states[slot].size = whole.iov_len;
    }
    size_t part = asked->iov_len < states[slot].size ? asked->iov_len : states[slot].size;
    if (what == PTRACE_GETREGSET) {
        memcpy(asked->iov_base, states[slot].bytes, part);
        asked->iov_len = part;
        return 0;
    }
    memcpy(states[slot].bytes, asked->iov_base, part);
    whole.iov_len = states[slot].size;
    return real_ptrace(PTRACE_SETREGSET, pid, kind, &whole);
}

/// Before 6.13 User-mode Linux has room for the vector state up to AVX only, and processors with more refuse
/// to take back a part: it gets the part that it knows, and they the whole.
long ptrace(enum __ptrace_request what, ...)
{
    va_list rest;
    va_start(rest, what);
    long pid = va_arg(rest, int);
    void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
    va_end(rest);
    int state = what == PTRACE_GETREGSET || what == PTRACE_SETREGSET;
    if (state && (long)address == NT_X86_XSTATE)
        return vector_state(what, pid, data);
    return real_ptrace(what, pid, address, data);
}

static long long nanoseconds(struct timespec it)
{
    return it.tv_sec * SECOND + it.tv_nsec;
}

static struct timespec timespec(long long it)
{
    return (struct timespec){it / SECOND, it % SECOND};
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    int result = real_gettime(which, now);
    if (which == CLOCK_MONOTONIC)
        *now = timespec(nanoseconds(*now) / SLOWER);
    return result;
}

int timer_settime(timer_t timer, int flags, const struct itimerspec *to, struct itimerspec *was)
{
    struct itimerspec slow = {
        .it_interval = timespec(nanoseconds(to->it_interval) * SLOWER),
        .it_value = timespec(nanoseconds(to->it_value) * SLOWER),
    };
    return real_settime(timer, flags, &slow, was);
}
