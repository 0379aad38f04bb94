/* The sum of the gradients of a block's two paths, of `size` values each. */

#include "native.h"

void add(long size, long threads, const value *restrict one, const value *restrict other, value *restrict sum) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (long i = 0; i < size; i++) sum[i] = rounded(load(one[i]) + load(other[i]));
}
