#include "cuda_on_host.hpp"

#include "planes.cu"

const std::vector<Kernel> KERNELS = {KERNEL(planes_16), KERNEL(planes_32), KERNEL(planes_64)};
