/* What the C sources here have in common.

   Maps are channels-last: of one place of one picture after another, `channels` values side by side. A value is a
   bfloat16, the upper half of a float. Loops over channels read before they choose, as only then they are vectorised. */

#include <stdint.h>
#include <string.h>

typedef uint16_t value;

static inline float load(value from) {
    uint32_t bits = (uint32_t)from << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

/* The nearest value; of two, the even one. What is not a number stays so. */
static inline value rounded(float number) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    value nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return number != number ? 0x7fc0 : nearest;
}

static inline long least(long a, long b) { return a < b ? a : b; }

static inline long greatest(long a, long b) { return a > b ? a : b; }
