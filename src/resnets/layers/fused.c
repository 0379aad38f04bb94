/* Batch norm with the sum and the ReLU that follow it, and the sum of the gradients of a map that is used twice, in as
   few passes over memory as there can be.

   `rows` is the number of places of all pictures. Sums are taken in float over a few rows, and in double over these.
   Each thread has its own part of the rows and of `scratch`, which has room for 3 doubles a channel and thread and one a
   channel more; so a result depends on the number of threads, but not on which of them is the first. */

#include <math.h>

#include "native.h"

#define FEW 64 /* rows whose sums are taken in float */

/* The first row of a thread's part, which is of whole groups of FEW; of the thread after the last, all rows. */
static inline long beginning(long thread, long threads, long rows) {
    long groups = (rows + FEW - 1) / FEW;
    return least(groups * thread / threads * FEW, rows);
}

/* Add the two sums of a few rows to those of a thread. */
static inline void add_few(long channels, const float *restrict few, double *restrict sums) {
    for (long c = 0; c < 2 * channels; c++) sums[c] += few[c];
}

/* Add the sums of all threads to the first's. */
static void add_threads(long channels, long threads, double *sums) {
    for (long t = 1; t < threads; t++)
        for (long c = 0; c < 2 * channels; c++) sums[c] += sums[2 * channels * t + c];
}

/* Mean and variance of each channel. All is counted from the mean of the first few rows, the pivot, as numbers far from 0
   would take the digits that the variance needs. */
static void take_moments(long rows, long channels, long threads, const value *x, float *mean, float *variance,
                         double *scratch) {
    double *sums = scratch;
    float *few = (float *)(scratch + 2 * channels * threads);
    value *pivot = (value *)(scratch + 3 * channels * threads);
    memset(scratch, 0, 3 * channels * threads * sizeof *scratch);
    for (long r = 0; r < least(FEW, rows); r++)
        for (long c = 0; c < channels; c++) few[c] += load(x[r * channels + c]);
    for (long c = 0; c < channels; c++) pivot[c] = rounded(few[c] / least(FEW, rows));
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long t = 0; t < threads; t++) {
        float *restrict sum = few + 2 * channels * t, *restrict square = sum + channels;
        long end = beginning(t + 1, threads, rows);
        for (long start = beginning(t, threads, rows); start < end; start += FEW) {
            memset(sum, 0, 2 * channels * sizeof *sum);
            for (long r = start; r < least(start + FEW, end); r += 4) { /* at once, as the sums are read for each time */
                const value *restrict row[4];
                for (long k = 0; k < 4; k++) row[k] = r + k < end ? x + (r + k) * channels : pivot; /* which adds 0 */
                for (long c = 0; c < channels; c++) {
                    float origin = load(pivot[c]), a = load(row[0][c]) - origin, b = load(row[1][c]) - origin;
                    float d = load(row[2][c]) - origin, e = load(row[3][c]) - origin;
                    sum[c] += (a + b) + (d + e);
                    square[c] += (a * a + b * b) + (d * d + e * e);
                }
            }
            add_few(channels, sum, sums + 2 * channels * t);
        }
    }
    add_threads(channels, threads, sums);
    for (long c = 0; c < channels; c++) {
        double shift = sums[c] / rows, spread = sums[channels + c] / rows - shift * shift;
        mean[c] = load(pivot[c]) + shift;
        variance[c] = spread > 0 ? spread : spread * 0; /* rounding can take it below 0; what is not a number stays so */
    }
}

/* y = activation(slope x + offset + shortcut), with slope = weight / sqrt(variance + epsilon), offset = bias - slope mean.

   `shortcut` may be NULL; the activation is ReLU, or none. Written are y and `of_channels`: mean, variance, slope and
   offset. */
void normalise(long rows, long channels, long threads, long activates, float epsilon, const value *x,
               const value *shortcut, const float *weight, const float *bias, value *y, float *of_channels,
               double *scratch) {
    float *mean = of_channels, *variance = mean + channels;
    float *restrict slope = variance + channels, *restrict offset = slope + channels;
    take_moments(rows, channels, threads, x, mean, variance, scratch);
    for (long c = 0; c < channels; c++) {
        slope[c] = weight[c] / sqrt((double)variance[c] + epsilon);
        offset[c] = bias[c] - mean[c] * slope[c];
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long t = 0; t < threads; t++)
        for (long r = beginning(t, threads, rows); r < beginning(t + 1, threads, rows); r++) {
            const value *restrict from = x + r * channels, *restrict beside = shortcut + r * channels;
            value *restrict to = y + r * channels;
            for (long c = 0; c < channels; c++) {
                float number = slope[c] * load(from[c]) + offset[c];
                if (shortcut) number += load(beside[c]);
                to[c] = rounded(activates && number < 0 ? 0 : number);
            }
        }
}

/* Add a row's g to `sum`, and behind it g (x - mean), for `differentiate`; inline, as a loop that asks in each of its
   turns which maps there are is not vectorised. */
static inline __attribute__((always_inline)) void add_row(
    long channels, long activates, const value *restrict gradient, const value *restrict other, const value *restrict x,
    const value *restrict y, const float *restrict of_channels, value *restrict of_sum, float *restrict sum) {
    const float *restrict mean = of_channels, *restrict slope = of_channels + 2 * channels;
    const float *restrict offset = slope + channels;
    float *restrict product = sum + channels;
    for (long c = 0; c < channels; c++) {
        float number = load(x[c]), all = load(gradient[c]);
        if (other) all += load(other[c]);
        float reached = y ? load(y[c]) : slope[c] * number + offset[c];
        float passed = activates && reached <= 0 ? 0 : all;
        if (of_sum) of_sum[c] = rounded(passed);
        sum[c] += passed;
        product[c] += passed * (number - mean[c]);
    }
}

/* The gradients of all that `normalise` reads, from that of its y and what it wrote.

   With g the gradient of the sum, which is that of y where ReLU let it through, and z = (x - mean) / deviation:

       of_bias = sum(g)    of_weight = sum(g z)    of_x = slope (g - (of_bias + z of_weight) / rows)

   Where y was used twice, `other` is its second gradient, which is added to the first. `y` is given where a shortcut was
   activated; otherwise it is computed anew. g is written to `of_sum`, which may be NULL where there is neither. Where
   of_x is NULL it is left out. */
void differentiate(long rows, long channels, long threads, long activates, float epsilon, const value *gradient,
                   const value *other, const value *x, const value *y, const float *of_channels, value *of_sum,
                   value *of_x, float *of_weight, float *of_bias, double *scratch) {
    const float *restrict mean = of_channels, *restrict variance = mean + channels;
    const float *restrict slope = variance + channels, *restrict offset = slope + channels;
    double *sums = scratch;
    float *few = (float *)(scratch + 2 * channels * threads);
    memset(scratch, 0, 3 * channels * threads * sizeof *scratch);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long t = 0; t < threads; t++) {
        float *sum = few + 2 * channels * t;
        long end = beginning(t + 1, threads, rows);
        for (long start = beginning(t, threads, rows); start < end; start += FEW) {
            memset(sum, 0, 2 * channels * sizeof *sum);
            for (long r = start; r < least(start + FEW, end); r++) {
                long i = r * channels;
                if (other && y)
                    add_row(channels, activates, gradient + i, other + i, x + i, y + i, of_channels, of_sum + i, sum);
                else if (other)
                    add_row(channels, activates, gradient + i, other + i, x + i, NULL, of_channels, of_sum + i, sum);
                else if (y)
                    add_row(channels, activates, gradient + i, NULL, x + i, y + i, of_channels, of_sum + i, sum);
                else
                    add_row(channels, activates, gradient + i, NULL, x + i, NULL, of_channels, NULL, sum);
            }
            add_few(channels, sum, sums + 2 * channels * t);
        }
    }
    add_threads(channels, threads, sums);
    float *restrict by_distance = few, *restrict constant = few + channels;
    for (long c = 0; c < channels; c++) {
        double deviation = sqrt((double)variance[c] + epsilon);
        of_bias[c] = sums[c];
        of_weight[c] = sums[channels + c] / deviation;
        by_distance[c] = -slope[c] * of_weight[c] / deviation / rows;
        constant[c] = -slope[c] * of_bias[c] / rows;
    }
    if (!of_x) return;
    if (of_sum) gradient = of_sum; /* which has gone through ReLU */
    int passes = !activates || of_sum;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (long t = 0; t < threads; t++)
        for (long r = beginning(t, threads, rows); r < beginning(t + 1, threads, rows); r++) {
            const value *restrict given = gradient + r * channels, *restrict from = x + r * channels;
            value *restrict to = of_x + r * channels;
            for (long c = 0; c < channels; c++) {
                float number = load(from[c]), output = slope[c] * number + offset[c];
                float all = load(given[c]), passed = !passes && output <= 0 ? 0 : all;
                to[c] = rounded(slope[c] * passed + by_distance[c] * (number - mean[c]) + constant[c]);
            }
        }
}

/* The sum of two gradients of one map, of `size` values each. */
void add(long size, long threads, const value *restrict one, const value *restrict other, value *restrict sum) {
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (long i = 0; i < size; i++) sum[i] = rounded(load(one[i]) + load(other[i]));
}
