/* Max-pooling that remembers which place of its window was the largest, and the way back, each in one pass.

   Maps of the input are height x width places, those of the output smaller_height x smaller_width. */

#include "native.h"

#define SOME 64 /* channels whose gradients are summed up at a time */

/* y, and for each of its values `which`: the place of the largest in its window, counted by rows; of equals the first.
   What is not a number counts as the largest. */
void pool(long pictures, long height, long width, long smaller_height, long smaller_width, long channels, long kernel,
          long stride, long padding, long threads, const value *x, value *y, uint8_t *which) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < pictures * smaller_height; row++) {
        long picture = row / smaller_height, top = row % smaller_height * stride - padding;
        for (long column = 0; column < smaller_width; column++) {
            value *restrict largest = y + (row * smaller_width + column) * channels;
            uint8_t *restrict place = which + (row * smaller_width + column) * channels;
            long left = column * stride - padding;
            int first = 1;
            for (long i = greatest(top, 0); i < least(top + kernel, height); i++)
                for (long j = greatest(left, 0); j < least(left + kernel, width); j++) {
                    const value *restrict from = x + ((picture * height + i) * width + j) * channels;
                    uint8_t here = (i - top) * kernel + j - left;
                    if (first) {
                        memcpy(largest, from, channels * sizeof *largest);
                        memset(place, here, channels);
                        first = 0;
                        continue;
                    }
                    for (long c = 0; c < channels; c++) {
                        float one = load(from[c]);
                        int larger = one > load(largest[c]) || one != one;
                        largest[c] = larger ? from[c] : largest[c];
                        place[c] = larger ? here : place[c];
                    }
                }
        }
    }
}

/* of_x, the gradient of x: the sum of those of the windows in which a place was the largest. */
void distribute(long pictures, long height, long width, long smaller_height, long smaller_width, long channels,
                long kernel, long stride, long padding, long threads, const value *gradient, const uint8_t *which,
                value *of_x) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (long row = 0; row < pictures * height; row++) {
        long picture = row / height, y = row % height + padding; /* in the padded map, as x below */
        long first_row = greatest(y - kernel + stride, 0) / stride, last_row = least(y / stride, smaller_height - 1);
        for (long column = 0; column < width; column++) {
            long x = column + padding;
            long first = greatest(x - kernel + stride, 0) / stride, last = least(x / stride, smaller_width - 1);
            value *restrict to = of_x + (row * width + column) * channels;
            if (first_row == last_row && first == last) { /* a single window, as where they do not overlap: no sums */
                long window = ((picture * smaller_height + first_row) * smaller_width + first) * channels;
                const value *restrict given = gradient + window;
                const uint8_t *restrict place = which + window;
                uint8_t here = (y - first_row * stride) * kernel + x - first * stride;
                for (long c = 0; c < channels; c++) to[c] = place[c] == here ? given[c] : 0;
                continue;
            }
            for (long start = 0; start < channels; start += SOME) {
                long some = least(SOME, channels - start);
                float sum[SOME] = {0};
                for (long i = first_row; i <= last_row; i++)
                    for (long j = first; j <= last; j++) {
                        long window = ((picture * smaller_height + i) * smaller_width + j) * channels + start;
                        uint8_t here = (y - i * stride) * kernel + x - j * stride;
                        for (long c = 0; c < some; c++) {
                            float all = load(gradient[window + c]);
                            sum[c] += which[window + c] == here ? all : 0;
                        }
                    }
                for (long c = 0; c < some; c++) to[start + c] = rounded(sum[c]);
            }
        }
    }
}
