/* CUDA C on the processor, slowly: what the kernels of dse use of the language, and a driver that runs them.
 *
 * Threads of a block are fibers, run one after the other from barrier to barrier, in rising or falling order: a result
 * that depends on the order has a barrier too few. Shared memory holds rubbish when a block begins, and what lies
 * behind the part that was asked for is checked afterwards. Blocks run one after the other.
 */
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>

using std::min;

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static dim3 threadIdx, blockIdx, blockDim, gridDim;
constexpr size_t MAX_SHARED = 232448; /* bytes, of an H100 */
alignas(128) uint4 shared[MAX_SHARED / 16 + 64];

template <class T> inline T __ldg(const T *address) { return *address; }

inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    uint64_t bytes = ((uint64_t)b << 32) | a;
    unsigned result = 0;
    for (int i = 0; i < 4; ++i)
        result |= (unsigned)((bytes >> (8 * ((selector >> (4 * i)) & 7))) & 255) << (8 * i);
    return result;
}

inline unsigned atomicAdd(unsigned *address, unsigned value)
{
    unsigned old = *address;
    *address += value;
    return old;
}

enum State { RUNNING, AT_WARP, AT_BLOCK, DONE };
struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    State state;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static unsigned current;
static bool is_reversed;
static void (*run_kernel)(void **);
static void **kernel_arguments;

inline void fail(const char *message)
{
    std::fprintf(stderr, "cuda_on_host: %s\n", message);
    std::abort();
}

inline void wait_for(State state)
{
    fibers[current].state = state;
    swapcontext(&fibers[current].context, &scheduler);
}
inline void __syncthreads() { wait_for(AT_BLOCK); }
inline void __syncwarp() { wait_for(AT_WARP); }

/* D = A B + C of `mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32`, fragments as the PTX manual lays them out. */
struct Fragments {
    unsigned a[4], b[2];
};
static std::map<unsigned, Fragments[2][32]> warps;
static std::vector<unsigned char> parity;

inline void host_mma(int (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2])
{
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = lane / 4, quad = lane % 4;
    auto &all = warps[warp][parity[current] ^= 1];
    std::memcpy(all[lane].a, a, sizeof a);
    std::memcpy(all[lane].b, b, sizeof b);
    __syncwarp();
    for (int i = 0; i < 4; ++i) {
        const unsigned row = group + (i >= 2 ? 8 : 0), column = quad * 2 + (i & 1);
        unsigned sum = (unsigned)c[i];
        for (unsigned k = 0; k < 32; ++k) {
            const unsigned half = k / 16, part = k % 16 / 4, byte = 8 * (k % 4);
            const unsigned x = all[row % 8 * 4 + part].a[row / 8 + 2 * half] >> byte & 255;
            const int w = (int8_t)(all[column * 4 + part].b[half] >> byte & 255);
            sum += (unsigned)((int)x * w);
        }
        c[i] = (int)sum;
    }
}

static void begin_fiber()
{
    run_kernel(kernel_arguments);
    fibers[current].state = DONE;
}

static void resume(unsigned thread)
{
    current = thread;
    threadIdx = {thread, 0, 0};
    fibers[thread].state = RUNNING;
    swapcontext(&scheduler, &fibers[thread].context);
}

/* Runs the lanes of a warp until all of them wait for the block or are done. */
static void run_warp(unsigned first, unsigned n)
{
    for (;;) {
        unsigned at_warp = 0, resting = 0;
        for (unsigned i = 0; i < n; ++i) {
            const unsigned thread = first + (is_reversed ? n - 1 - i : i);
            if (fibers[thread].state == RUNNING || fibers[thread].state == AT_WARP)
                resume(thread);
            at_warp += fibers[thread].state == AT_WARP;
            resting += fibers[thread].state == AT_BLOCK || fibers[thread].state == DONE;
        }
        if (at_warp && resting)
            fail("lanes of a warp diverge at a collective");
        if (resting == n)
            return;
    }
}

static void run_block(unsigned n_threads, size_t shared_bytes)
{
    std::memset(shared, 0xA5, sizeof shared);
    fibers.resize(n_threads);
    parity.assign(n_threads, 0);
    for (Fiber &fiber : fibers) {
        fiber.stack.resize(1 << 16);
        fiber.state = RUNNING;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = &scheduler;
        makecontext(&fiber.context, begin_fiber, 0);
    }
    for (unsigned n_done = 0; n_done < n_threads;) {
        const unsigned n_warps = (n_threads + 31) / 32;
        for (unsigned i = 0; i < n_warps; ++i) {
            const unsigned first = 32 * (is_reversed ? n_warps - 1 - i : i);
            run_warp(first, min(32u, n_threads - first));
        }
        n_done = 0;
        for (Fiber &fiber : fibers)
            n_done += fiber.state == DONE;
        if (n_done && n_done < n_threads)
            fail("some threads of a block ended while others wait at a barrier");
        for (Fiber &fiber : fibers)
            if (fiber.state == AT_BLOCK)
                fiber.state = RUNNING;
    }
    const unsigned char *bytes = (const unsigned char *)shared;
    for (size_t i = shared_bytes; i < sizeof shared; ++i)
        if (bytes[i] != 0xA5)
            fail("shared memory was written behind its end");
}

template <class... Types, size_t... I>
void call(void (*kernel)(Types...), void **arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<std::remove_cv_t<Types> *>(arguments[I])...);
}
template <class... Types> void call(void (*kernel)(Types...), void **arguments)
{
    call(kernel, arguments, std::index_sequence_for<Types...>());
}

struct Kernel {
    const char *name;
    void (*run)(void **);
};
#define KERNEL(name) {#name, [](void **arguments) { call(name, arguments); }}
extern const std::vector<Kernel> KERNELS;

/* The functions of the CUDA driver that dse calls; 0 is success. */
extern "C" {
int cuInit(unsigned) { return 0; }
int cuGetErrorString(int error, const char **text)
{
    *text = error == 500 ? "named symbol not found" : "invalid value";
    return 0;
}
int cuDeviceGet(int *device, int ordinal)
{
    *device = ordinal;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int)
{
    *context = shared;
    return 0;
}
static int n_pushed; /* kernels need the context that they were loaded in */
int cuCtxPushCurrent_v2(void *context)
{
    n_pushed += context == shared;
    return 0;
}
int cuCtxPopCurrent_v2(void **context)
{
    *context = shared;
    --n_pushed;
    return 0;
}
int cuModuleLoadData(void **module, const void *)
{
    if (n_pushed != 1)
        return 201;
    *module = shared;
    return 0;
}
int cuModuleGetFunction(void **function, void *, const char *name)
{
    for (const Kernel &kernel : KERNELS)
        if (std::string(name) == kernel.name) {
            *function = (void *)&kernel;
            return 0;
        }
    return 500;
}
int cuFuncSetAttribute(void *, int attribute, int value)
{
    return attribute == 8 && value >= 0 && (size_t)value <= MAX_SHARED ? 0 : 1;
}
int cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                   unsigned block_y, unsigned block_z, unsigned shared_bytes, void *, void **arguments, void **)
{
    if (!grid_x || !grid_y || grid_y > 65535 || !grid_z || grid_z > 65535 || !block_x || block_x > 1024 ||
        block_y != 1 || block_z != 1 || shared_bytes > MAX_SHARED)
        return 1;
    if (n_pushed != 1)
        return 201;
    run_kernel = ((const Kernel *)function)->run;
    kernel_arguments = arguments;
    gridDim = {grid_x, grid_y, grid_z};
    blockDim = {block_x, 1, 1};
    for (blockIdx.z = 0; blockIdx.z < grid_z; ++blockIdx.z)
        for (blockIdx.y = 0; blockIdx.y < grid_y; ++blockIdx.y)
            for (blockIdx.x = 0; blockIdx.x < grid_x; ++blockIdx.x)
                run_block(block_x, shared_bytes);
    return 0;
}
void set_reversed(int value) { is_reversed = value; }
}
