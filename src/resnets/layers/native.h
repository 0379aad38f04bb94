/* What the C sources here have in common.

   Maps are channels-last: of one place of one picture after another, `channels` values side by side. Values are float
   or, compiled with -DBFLOAT16, the upper half of one. */

#include <stdint.h>
#include <string.h>

#ifdef BFLOAT16
typedef uint16_t value;

static inline float load(value from) {
    uint32_t bits = (uint32_t)from << 16;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

static inline value rounded(float number) { /* to the nearest; of two, to the even one */
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (value)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#else
typedef float value;

static inline float load(value from) { return from; }

static inline value rounded(float number) { return number; }
#endif

static inline long least(long a, long b) { return a < b ? a : b; }

static inline long greatest(long a, long b) { return a > b ? a : b; }
