/* The stream, one step after the other: audio to mel power, PCEN or the logarithm, pooling, convolution, GRU, attention,
   probability, detection. Needs no library, allocates nothing, keeps nothing: all state is the caller's. */
#include "kws.h"

#include <string.h>

#if KWS_LANES < 1 || KWS_MOST_LANES % KWS_LANES /* which is a power of two */
#error KWS_LANES must be a power of two up to KWS_MOST_LANES
#endif

#if KWS_PACKED
/* Where a tensor's integers and scales lie in the packed bytes. */
typedef struct {
    uint32_t bit, scale;
    uint16_t groups;
    uint8_t width;
} tensor;
#else
typedef float tensor;
#endif

@WEIGHTS@

#define HALF (KWS_WINDOW / 2)
#define FEATURES (KWS_CHANNELS * KWS_CONV_MELS)
#define LEAD ((KWS_LANES - KWS_KERNEL_FRAMES * KWS_POOL_FRAMES % KWS_LANES) % KWS_LANES)
#define START (LEAD * KWS_HOP + HALF + 1) /* where a stream's first sample lies in state->audio */
#define GROUP (1 + KWS_WINDOW + (KWS_LANES - 1) * KWS_HOP) /* samples that KWS_LANES frames need, and the one before */
#define LOUDEST 32768.0f

/* Says that a loop's arrays do not overlap, where compilers cannot see it. */
#if defined(__clang__)
#define APART _Pragma("clang loop vectorize(assume_safety)")
#pragma clang diagnostic ignored "-Wpass-failed" /* it is a permission, not a demand */
#elif defined(__GNUC__)
#define APART _Pragma("GCC ivdep")
#else
#define APART
#endif

/* ---- exponential and logarithm: polynomials after Moshier's Cephes library, relative errors near 1e-7 ---- */

static inline float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t to_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float exponential(float x) {
    /* Clipped to 87 and rounded by its bits: as comparisons of floats, compilers would make branches of them. */
    uint32_t sign = to_bits(x) & 0x80000000u, size = to_bits(x) & 0x7fffffffu;
    x = from_bits((size < 0x42ae0000u ? size : 0x42ae0000u) | sign);
    float turns = x * 1.44269504f;
    int32_t power = (int32_t)(turns + from_bits(sign | 0x3f000000u));
    float rest = x - (float)power * 0.693359375f + (float)power * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    return sum * from_bits((uint32_t)(power + 127) << 23);
}

/* Of a positive normal number. */
static inline float logarithm(float x) {
    uint32_t bits = to_bits(x) - 0x3f3504f3u; /* the mantissa from sqrt(1/2) on */
    int32_t power = (int32_t)bits >> 23;
    float rest = from_bits((bits & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
    float square = rest * rest, sum = 7.0376836292e-2f;
    sum = sum * rest - 1.1514610310e-1f;
    sum = sum * rest + 1.1676998740e-1f;
    sum = sum * rest - 1.2420140846e-1f;
    sum = sum * rest + 1.4249322787e-1f;
    sum = sum * rest - 1.6668057665e-1f;
    sum = sum * rest + 2.0000714765e-1f;
    sum = sum * rest - 2.4999993993e-1f;
    sum = sum * rest + 3.3333331174e-1f;
    float low = sum * rest * square + (float)power * -2.12194440e-4f - 0.5f * square;
    return rest + low + (float)power * 0.693359375f;
}

static inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

static inline float hyperbolic_tangent(float x) { return 1.0f - 2.0f / (1.0f + exponential(2.0f * x)); }

/* ---- Fourier transform: Stockham's, of half the window as complex numbers, KWS_LANES frames side by side ---- */

/* A number of each of KWS_LANES frames; and of two such, numbers by turns, from number i of each on. */
#if KWS_LANES == 1
typedef float lanes;
#else
typedef float lanes __attribute__((vector_size(4 * KWS_LANES)));
#endif
#if KWS_LANES == 2
#define ZIP(a, b, i) {a[i], b[i]}
#elif KWS_LANES == 4
#define ZIP(a, b, i) {a[i], b[i], a[i + 1], b[i + 1]}
#elif KWS_LANES == 8
#define ZIP(a, b, i) {a[i], b[i], a[i + 1], b[i + 1], a[i + 2], b[i + 2], a[i + 3], b[i + 3]}
#endif

/* exp(-2 pi i k / KWS_WINDOW) */
static inline float cosine(int k) { return sines[k + KWS_WINDOW / 4]; }
static inline float minus_sine(int k) { return -sines[k]; }

/* Twiddle j of a block: exp(-2 pi i j block / (radix * blocks)). */
#define TURN(j) (block * (j) * (KWS_WINDOW / (radix * blocks)))

/* A pass: `blocks` butterflies of `radix` inputs that lie blocks * width apart; `width` numbers go side by side. In the
   first pass a number is lanes, since compilers shuffle a loop over so few floats; in the others it is a float, of which
   they take as many at once as the machine does. Real parts lie before imaginary parts. */
#define PARTS(number) (HALF * (int)(sizeof(lanes) / sizeof(number))) /* numbers of each */

#define PASS_2(name, number) \
    static inline void name(int radix, int blocks, int width, const number *restrict from, number *restrict to) { \
        int apart = blocks * width; \
        for (int block = 0; block < blocks; block++) { \
            const number *restrict re = from + block * width, *restrict im = re + PARTS(number); \
            number *restrict out_re = to + radix * block * width, *restrict out_im = out_re + PARTS(number); \
            float c = cosine(TURN(1)), s = minus_sine(TURN(1)); \
            APART \
            for (int i = 0; i < width; i++) { \
                number a = re[i], b = im[i], x = re[i + apart], y = im[i + apart]; \
                out_re[i] = a + x; \
                out_im[i] = b + y; \
                out_re[i + width] = (a - x) * c - (b - y) * s; \
                out_im[i + width] = (a - x) * s + (b - y) * c; \
            } \
        } \
    }

#define PASS_4(name, number) \
    static inline void name(int radix, int blocks, int width, const number *restrict from, number *restrict to) { \
        int apart = blocks * width; \
        for (int block = 0; block < blocks; block++) { \
            const number *restrict re = from + block * width, *restrict im = re + PARTS(number); \
            number *restrict out_re = to + radix * block * width, *restrict out_im = out_re + PARTS(number); \
            float c1 = cosine(TURN(1)), s1 = minus_sine(TURN(1)), c2 = cosine(TURN(2)), s2 = minus_sine(TURN(2)); \
            float c3 = cosine(TURN(3)), s3 = minus_sine(TURN(3)); \
            APART \
            for (int i = 0; i < width; i++) { \
                number even_re = re[i] + re[i + 2 * apart], even_im = im[i] + im[i + 2 * apart]; \
                number odd_re = re[i + apart] + re[i + 3 * apart], odd_im = im[i + apart] + im[i + 3 * apart]; \
                number less_re = re[i] - re[i + 2 * apart], less_im = im[i] - im[i + 2 * apart]; \
                number turned_re = im[i + apart] - im[i + 3 * apart], turned_im = re[i + 3 * apart] - re[i + apart]; \
                number x1 = less_re + turned_re, y1 = less_im + turned_im; \
                number x2 = even_re - odd_re, y2 = even_im - odd_im; \
                number x3 = less_re - turned_re, y3 = less_im - turned_im; \
                out_re[i] = even_re + odd_re; \
                out_im[i] = even_im + odd_im; \
                out_re[i + width] = x1 * c1 - y1 * s1; \
                out_im[i + width] = x1 * s1 + y1 * c1; \
                out_re[i + 2 * width] = x2 * c2 - y2 * s2; \
                out_im[i + 2 * width] = x2 * s2 + y2 * c2; \
                out_re[i + 3 * width] = x3 * c3 - y3 * s3; \
                out_im[i + 3 * width] = x3 * s3 + y3 * c3; \
            } \
        } \
    }

/* Of an odd radix: inputs k and radix - k meet every output with the same cosine and opposite sines. */
#define PASS_ODD(name, number) \
    static inline void name(int radix, int blocks, int width, const number *restrict from, number *restrict to) { \
        int apart = blocks * width; \
        for (int block = 0; block < blocks; block++) { \
            const number *restrict re = from + block * width, *restrict im = re + PARTS(number); \
            number *restrict out_re = to + radix * block * width, *restrict out_im = out_re + PARTS(number); \
            APART \
            for (int i = 0; i < width; i++) { \
                number sum_re = re[i], sum_im = im[i]; \
                for (int k = 1; k < radix; k++) { \
                    sum_re += re[i + k * apart]; \
                    sum_im += im[i + k * apart]; \
                } \
                out_re[i] = sum_re; \
                out_im[i] = sum_im; \
            } \
            for (int j = 1; j <= radix / 2; j++) { \
                float c1 = cosine(TURN(j)), s1 = minus_sine(TURN(j)); \
                float c2 = cosine(TURN(radix - j)), s2 = minus_sine(TURN(radix - j)); \
                APART \
                for (int i = 0; i < width; i++) { \
                    number even_re = re[i], even_im = im[i], odd_re = {0}, odd_im = {0}; \
                    for (int k = 1; k <= radix / 2; k++) { \
                        int angle = j * k % radix * (KWS_WINDOW / radix), near = i + k * apart; \
                        int far = i + (radix - k) * apart; \
                        even_re += cosine(angle) * (re[near] + re[far]); \
                        even_im += cosine(angle) * (im[near] + im[far]); \
                        odd_re -= minus_sine(angle) * (im[near] - im[far]); \
                        odd_im += minus_sine(angle) * (re[near] - re[far]); \
                    } \
                    number x1 = even_re + odd_re, y1 = even_im + odd_im, x2 = even_re - odd_re, y2 = even_im - odd_im; \
                    out_re[i + j * width] = x1 * c1 - y1 * s1; \
                    out_im[i + j * width] = x1 * s1 + y1 * c1; \
                    out_re[i + (radix - j) * width] = x2 * c2 - y2 * s2; \
                    out_im[i + (radix - j) * width] = x2 * s2 + y2 * c2; \
                } \
            } \
        } \
    }

KWS_PASS_KINDS

/* Power of a real frame's bins out of the transform of its even samples and, as imaginary parts, its odd ones: bins k and
   HALF - k, times two, are a sum and a turned difference, and their mirror. */
static inline void unfold(const lanes *restrict from, lanes *restrict bins) {
    for (int k = 0; k <= HALF / 2; k++) {
        const lanes *restrict near = from + k, *restrict far = from + (HALF - k) % HALF;
        float c = cosine(k), s = minus_sine(k);
        lanes even_re = near[0] + far[0], even_im = near[HALF] - far[HALF];
        lanes odd_re = near[HALF] + far[HALF], odd_im = far[0] - near[0];
        lanes turned_re = odd_re * c - odd_im * s, turned_im = odd_re * s + odd_im * c;
        lanes sum_re = even_re + turned_re, sum_im = even_im + turned_im;
        lanes less_re = even_re - turned_re, less_im = even_im - turned_im;
        bins[k] = sum_re * sum_re + sum_im * sum_im;
        bins[HALF - k] = less_re * less_re + less_im * less_im;
    }
}

/* Frames times Hann's window; even samples before odd ones. */
static inline void window_frames(const float *restrict audio, lanes *restrict to) {
#if KWS_LANES == 1
    for (int n = 0; n < HALF; n++) {
        to[n] = (0.5f - 0.5f * cosine(2 * n)) * audio[2 * n];
        to[HALF + n] = (0.5f - 0.5f * cosine(2 * n + 1)) * audio[2 * n + 1];
    }
#else
    /* As many samples as frames are read as they lie, and their square is turned by perfect shuffles. */
    for (int n = 0; n < KWS_WINDOW; n += KWS_LANES) {
        lanes rows[KWS_LANES], weight;
        memcpy(&weight, sines + KWS_WINDOW / 4 + n, sizeof weight);
        for (int lane = 0; lane < KWS_LANES; lane++) {
            memcpy(&rows[lane], audio + lane * KWS_HOP + n, sizeof rows[lane]);
            rows[lane] *= 0.5f - 0.5f * weight;
        }
        for (int turned = 1; turned < KWS_LANES; turned *= 2) {
            lanes before[KWS_LANES];
            for (int i = 0; i < KWS_LANES; i++) before[i] = rows[i];
            for (int i = 0; i < KWS_LANES / 2; i++) {
                lanes a = before[i], b = before[i + KWS_LANES / 2];
                rows[2 * i] = (lanes)ZIP(a, b, 0);
                rows[2 * i + 1] = (lanes)ZIP(a, b, KWS_LANES / 2);
            }
        }
        for (int i = 0; i < KWS_LANES; i++) to[(n + i) % 2 * HALF + (n + i) / 2] = rows[i];
    }
#endif
}

/* Mel power of the next KWS_LANES frames. */
static void mel_power(const float *restrict audio, lanes power[KWS_MELS]) {
    lanes buffers[2][2 * HALF], *from = buffers[0], *to = buffers[1];
    window_frames(audio, from);
    int blocks = HALF, width = 1;
    lanes *other;
#define FIRST_PASS(radix) \
    first_pass(radix, blocks /= radix, width, from, to); \
    width *= radix * KWS_LANES, other = from, from = to, to = other;
#define PASS(kind, radix) \
    kind(radix, blocks /= radix, width, (const float *)from, (float *)to); \
    width *= radix, other = from, from = to, to = other;
    KWS_PASSES
#undef PASS
#undef FIRST_PASS
    unfold(from, to);
    /* Between two corners of the filterbank one triangle rises as the one before it falls. */
    int bin = KWS_FIRST_BIN;
    for (int segment = 0; segment <= KWS_MELS; segment++) {
        lanes up = {0}, down = {0};
        for (; bin < corners[segment]; bin++) {
            lanes part = rise[bin - KWS_FIRST_BIN] * to[bin];
            up += part;
            down += to[bin] - part;
        }
        if (segment < KWS_MELS) power[segment] = 0.25f * up;
        if (segment > 0) power[segment - 1] += 0.25f * down;
    }
}

/* ---- frames: PCEN or the logarithm, then pooling ---- */

/* Per-channel energy normalization (Wang et al., 2017), or the natural logarithm, of frames `first` to `last` of the
   lanes; what the others hold is of no account. */
static void compress(kws_state *state, int first, int last, lanes power[KWS_MELS]) {
    float *all = (float *)power;
    for (int i = 0; i < KWS_MELS * KWS_LANES; i++) all[i] = all[i] < KWS_MOST_POWER ? all[i] : KWS_MOST_POWER;
#if KWS_PCEN
    for (int mel = 0; mel < KWS_MELS; mel++) power[mel] *= KWS_PCEN_SCALE;
    if (state->frame <= 0) { /* the first frame starts the means */
        for (int mel = 0; mel < KWS_MELS; mel++) state->smoother[mel] = all[mel * KWS_LANES + first];
    }
    for (int mel = 0; mel < KWS_MELS; mel++) {
        float *energy = all + mel * KWS_LANES, mean = state->smoother[mel];
        for (int lane = first; lane <= last; lane++) {
            mean += pcen_smoothing[mel] * (energy[lane] - mean);
            energy[lane] = energy[lane] / (KWS_PCEN_FLOOR + mean) + pcen_bias[mel];
        }
        state->smoother[mel] = mean;
    }
    for (int i = 0; i < KWS_MELS * KWS_LANES; i++) all[i] = logarithm(all[i]);
    for (int mel = 0; mel < KWS_MELS; mel++) power[mel] *= pcen_root[mel];
    for (int i = 0; i < KWS_MELS * KWS_LANES; i++) all[i] = exponential(all[i]);
    for (int mel = 0; mel < KWS_MELS; mel++) power[mel] = KWS_PCEN_GAIN * (power[mel] - pcen_rest[mel]);
#else
    (void)state, (void)first, (void)last;
    for (int i = 0; i < KWS_MELS * KWS_LANES; i++) all[i] = all[i] > KWS_LEAST_POWER ? all[i] : KWS_LEAST_POWER;
    for (int i = 0; i < KWS_MELS * KWS_LANES; i++) all[i] = logarithm(all[i]);
#endif
}

/* Adds the frame of a lane to those that are pooled; whether the convolution then has all rows of a step. */
static int pool(kws_state *state, const float *restrict frame) {
    for (int mel = 0; mel < KWS_POOLED_MELS; mel++) {
        float sum = state->num_pooled ? state->pooling[mel] : 0.0f;
        for (int i = 0; i < KWS_POOL_MELS; i++) sum += frame[(mel * KWS_POOL_MELS + i) * KWS_LANES];
        state->pooling[mel] = sum;
    }
    if (++state->num_pooled < KWS_POOL_FRAMES) return 0;
    state->num_pooled = 0;
    for (int mel = 0; mel < KWS_POOLED_MELS; mel++) {
        state->rows[state->num_rows][mel] = state->pooling[mel] * (1.0f / (KWS_POOL_MELS * KWS_POOL_FRAMES));
    }
    return ++state->num_rows == KWS_KERNEL_FRAMES;
}

/* ---- the model ---- */

#if KWS_PACKED
/* Integer number i of a tensor, two's complement of `width` bits, lowest bit first. */
static inline float integer(const tensor *of, uint32_t i) {
    if (of->width == 8) return (float)(int8_t)packed[(of->bit >> 3) + i];
    uint32_t bit = of->bit + i * of->width, byte = bit >> 3;
    uint32_t both = packed[byte] | (uint32_t)packed[byte + 1] << 8;
    int32_t value = (int32_t)(both >> (bit & 7) << (32 - of->width));
    return (float)(value >> (32 - of->width));
}

/* Scale of a group: float16, positive and normal. */
static inline float scale(const tensor *of, int group) {
    uint32_t at = 2 * (of->scale + (uint32_t)group);
    return from_bits(((packed[at] | (uint32_t)packed[at + 1] << 8) << 13) + (112u << 23));
}

static void add_bias(const tensor *bias, int count, float *sums) {
    float unit = scale(bias, 0);
    for (int i = 0; i < count; i++) sums[i] += unit * integer(bias, (uint32_t)i);
}

/* sums += matrix * inputs */
static void multiply(const tensor *matrix, const float *inputs, int num_inputs, int count, float *sums) {
    uint32_t next = 0;
    for (int i = 0; i < count; i++) {
        float sum = 0.0f;
        for (int j = 0; j < num_inputs; j++) sum += integer(matrix, next++) * inputs[j];
        sums[i] += scale(matrix, i * matrix->groups / count) * sum;
    }
}

static void convolve(float rows[KWS_KERNEL_FRAMES][KWS_POOLED_MELS], float *features) {
    uint32_t next = 0;
    for (int channel = 0; channel < KWS_CHANNELS; channel++) {
        float sums[KWS_CONV_MELS] = {0};
        for (int mel = 0; mel < KWS_KERNEL_MELS; mel++) {
            for (int frame = 0; frame < KWS_KERNEL_FRAMES; frame++) {
                float weight = integer(&conv_weight, next++);
                for (int i = 0; i < KWS_CONV_MELS; i++) sums[i] += weight * rows[frame][i * KWS_STRIDE_MELS + mel];
            }
        }
        float bias = scale(&conv_bias, 0) * integer(&conv_bias, (uint32_t)channel);
        for (int i = 0; i < KWS_CONV_MELS; i++) {
            features[channel * KWS_CONV_MELS + i] = scale(&conv_weight, channel) * sums[i] + bias;
        }
    }
}

/* What a hidden state says for the keyword: the difference of the two classes' rows. */
static float vote(const float *hidden) {
    float sum = 0.0f;
    for (int i = 0; i < KWS_HIDDEN; i++) {
        float difference = integer(&classifier_weight, (uint32_t)(KWS_HIDDEN + i)) - integer(&classifier_weight, (uint32_t)i);
        sum += difference * hidden[i];
    }
    float bias = scale(&classifier_bias, 0) * (integer(&classifier_bias, 1) - integer(&classifier_bias, 0));
    return scale(&classifier_weight, 0) * sum + bias;
}
#else
static void add_bias(const tensor *bias, int count, float *sums) {
    for (int i = 0; i < count; i++) sums[i] += bias[i];
}

/* sums += matrix * inputs; a row of the array is what one input gives to all sums. */
static inline void multiply(const tensor *restrict matrix, const float *inputs, int num_inputs, int count,
                            float *restrict sums) {
    int j = 0;
    for (; j + 4 <= num_inputs; j += 4, matrix += 4 * count) {
        float a = inputs[j], b = inputs[j + 1], c = inputs[j + 2], d = inputs[j + 3];
        for (int i = 0; i < count; i++) {
            sums[i] += a * matrix[i] + b * matrix[count + i] + c * matrix[2 * count + i] + d * matrix[3 * count + i];
        }
    }
    for (; j < num_inputs; j++, matrix += count) {
        for (int i = 0; i < count; i++) sums[i] += inputs[j] * matrix[i];
    }
}

static void convolve(float rows[KWS_KERNEL_FRAMES][KWS_POOLED_MELS], float *features) {
    float sums[KWS_CONV_MELS][KWS_CHANNELS];
    for (int i = 0; i < KWS_CONV_MELS; i++) memcpy(sums[i], conv_bias, sizeof sums[i]);
    const float *weights = conv_weight;
    for (int mel = 0; mel < KWS_KERNEL_MELS; mel++) {
        for (int frame = 0; frame < KWS_KERNEL_FRAMES; frame++, weights += KWS_CHANNELS) {
            for (int i = 0; i < KWS_CONV_MELS; i++) {
                float value = rows[frame][i * KWS_STRIDE_MELS + mel];
                for (int channel = 0; channel < KWS_CHANNELS; channel++) sums[i][channel] += value * weights[channel];
            }
        }
    }
    for (int channel = 0; channel < KWS_CHANNELS; channel++) {
        for (int i = 0; i < KWS_CONV_MELS; i++) features[channel * KWS_CONV_MELS + i] = sums[i][channel];
    }
}

/* What a hidden state says for the keyword: the difference of the two classes' logits. */
static float vote(const float *hidden) {
    float sum = classifier_bias[1] - classifier_bias[0];
    for (int i = 0; i < KWS_HIDDEN; i++) sum += (classifier_weight[2 * i + 1] - classifier_weight[2 * i]) * hidden[i];
    return sum;
}
#endif

/* One step of a GRU layer (Cho et al., 2014), gates in the order reset, update, new. */
static inline void recur(const tensor *input_weight, const tensor *input_bias, const tensor *hidden_weight,
                         const tensor *hidden_bias, const float *inputs, int num_inputs, float *hidden) {
    float heard[3 * KWS_HIDDEN] = {0}, kept[3 * KWS_HIDDEN] = {0};
    add_bias(input_bias, 3 * KWS_HIDDEN, heard);
    add_bias(hidden_bias, 3 * KWS_HIDDEN, kept);
    multiply(input_weight, inputs, num_inputs, 3 * KWS_HIDDEN, heard);
    multiply(hidden_weight, hidden, KWS_HIDDEN, 3 * KWS_HIDDEN, kept);
    for (int i = 0; i < 2 * KWS_HIDDEN; i++) heard[i] = sigmoid(heard[i] + kept[i]);
    for (int i = 0; i < KWS_HIDDEN; i++) {
        float update = heard[KWS_HIDDEN + i];
        float fresh = hyperbolic_tangent(heard[2 * KWS_HIDDEN + i] + heard[i] * kept[2 * KWS_HIDDEN + i]);
        hidden[i] = (1.0f - update) * fresh + update * hidden[i];
    }
}

/* The keyword's probability at one step. */
static float hear(kws_state *state) {
    float features[FEATURES];
    convolve(state->rows, features);
#if KWS_RELU
    for (int i = 0; i < FEATURES; i++) features[i] = features[i] > 0.0f ? features[i] : 0.0f;
#endif
    const float *inputs = features;
#define LAYER(i, size) \
    recur(GRU_INPUT_WEIGHT(i), GRU_INPUT_BIAS(i), GRU_HIDDEN_WEIGHT(i), GRU_HIDDEN_BIAS(i), inputs, size, state->hidden[i]); \
    inputs = state->hidden[i];
    KWS_LAYERS
#undef LAYER
    /* The head is linear, so that of every step in the window its energy and its vote are enough. */
    float projected[KWS_ATTENTION_WIDTH] = {0}, energy = 0.0f;
    add_bias(ATTENTION_BIAS, KWS_ATTENTION_WIDTH, projected);
    multiply(ATTENTION_WEIGHT, inputs, KWS_HIDDEN, KWS_ATTENTION_WIDTH, projected);
    for (int i = 0; i < KWS_ATTENTION_WIDTH; i++) projected[i] = hyperbolic_tangent(projected[i]);
    add_bias(SCORE_BIAS, 1, &energy);
    multiply(SCORE_WEIGHT, projected, KWS_ATTENTION_WIDTH, 1, &energy);
    int seen = state->steps < KWS_ATTENTION_STEPS ? (int)state->steps + 1 : KWS_ATTENTION_STEPS;
    state->energies[state->oldest] = energy;
    state->votes[state->oldest] = vote(inputs);
    state->oldest = (state->oldest + 1) % KWS_ATTENTION_STEPS;
    float most = energy, sum = 0.0f, total = 0.0f;
    for (int i = 0; i < seen; i++) most = state->energies[i] > most ? state->energies[i] : most;
    for (int i = 0; i < seen; i++) {
        float weight = exponential(state->energies[i] - most);
        total += weight;
        sum += weight * state->votes[i];
    }
    return sigmoid(sum / total);
}

/* ---- the detector: smoothing, a threshold that must be risen over, and a refractory time ---- */

static kws_step detect(kws_state *state, float probability) {
    kws_step step;
    step.end = ((state->steps * KWS_STEP_FRAMES) + KWS_KERNEL_FRAMES * KWS_POOL_FRAMES - 1) * KWS_HOP + HALF;
    step.probability = probability;
    for (int i = 0; i + 1 < KWS_SMOOTHING; i++) state->recent[i] = state->recent[i + 1];
    state->recent[KWS_SMOOTHING - 1] = probability;
    float sum = state->recent[0];
    for (int i = 1; i < KWS_SMOOTHING; i++) sum += state->recent[i];
    step.score = sum * (1.0f / KWS_SMOOTHING);
    int is_above = step.score >= KWS_THRESHOLD;
    step.is_detection = is_above && !state->was_above && state->wait <= 1;
    state->was_above = is_above;
    state->wait = step.is_detection ? KWS_REFRACTORY_STEPS : state->wait > 0 ? state->wait - 1 : 0;
    return step;
}

/* ---- the stream ---- */

/* Hears the KWS_LANES frames in state->audio and moves on; returns the number of steps that they complete. */
static int hear_frames(kws_state *state, kws_step *steps) {
    lanes power[KWS_MELS];
    int count = 0, first = state->frame < 0 ? (int)-state->frame : 0, last = KWS_LANES - 1;
    if (state->frame + last > state->last_frame) last = (int)(state->last_frame - state->frame);
    if (state->frame == -LEAD) { /* the left edge is mirrored */
        for (int i = 1; i <= HALF; i++) state->audio[START - i] = state->audio[START + i];
    }
    mel_power(state->audio + 1, power);
    compress(state, first, last, power);
    for (int lane = first; lane <= last; lane++) {
        if (!pool(state, (const float *)power + lane)) continue;
        steps[count++] = detect(state, hear(state));
        state->steps++;
        state->num_rows -= KWS_STRIDE_FRAMES;
        memmove(state->rows, state->rows + KWS_STRIDE_FRAMES, (size_t)state->num_rows * sizeof state->rows[0]);
    }
    state->frame += KWS_LANES;
    int moved = KWS_LANES * KWS_HOP;
    state->skipped = moved > state->filled ? moved - state->filled : 0;
    state->filled = moved > state->filled ? 0 : state->filled - moved;
    if (state->filled) memmove(state->audio, state->audio + moved, (size_t)state->filled * sizeof state->audio[0]);
    return count;
}

/* Samples that state->audio must hold before its frames can be heard; the first frame's mirrored half needs one more. */
static int needed(const kws_state *state) {
    return state->frame == -LEAD && GROUP < START + HALF + 1 ? START + HALF + 1 : GROUP;
}

/* How many of `count` samples go into state->audio next, where `*skipped` before them are dropped. */
static size_t room(kws_state *state, size_t count, size_t *skipped) {
    *skipped = count < (size_t)state->skipped ? count : (size_t)state->skipped;
    state->skipped -= (int32_t)*skipped;
    size_t space = (size_t)(needed(state) - state->filled);
    return count - *skipped < space ? count - *skipped : space;
}

void kws_init(kws_state *state) {
    memset(state, 0, sizeof *state);
    state->frame = -LEAD;
    state->last_frame = INT64_MAX;
    state->filled = START;
}

/* Takes in samples, each as `convert` makes it of samples[i]; a macro, since C has no templates. */
#define PUSH(convert) \
    int found = 0; \
    while (count) { \
        size_t skipped, taken = room(state, count, &skipped); \
        float *restrict audio = state->audio + state->filled; \
        samples += skipped; \
        for (size_t i = 0; i < taken; i++) audio[i] = convert; \
        samples += taken; \
        count -= skipped + taken; \
        state->filled += (int32_t)taken; \
        if (state->filled == needed(state)) found += hear_frames(state, steps + found); \
    } \
    return found

int kws_push(kws_state *state, const float *samples, size_t count, kws_step *steps) {
    uint32_t is_wrong = 0;
    for (size_t i = 0; i < count; i++) is_wrong |= (to_bits(samples[i]) & 0x7f800000u) == 0x7f800000u;
    if (is_wrong) return KWS_NOT_FINITE;
    PUSH(samples[i] > LOUDEST ? LOUDEST : samples[i] < -LOUDEST ? -LOUDEST : samples[i]);
}

int kws_push_int16(kws_state *state, const int16_t *samples, size_t count, kws_step *steps) {
    PUSH(samples[i] * (1.0f / 32768.0f));
}

int kws_flush(kws_state *state, kws_step *steps) {
    /* Samples from the middle of the next frame on; the stream is longer than what is mirrored if frames went by. */
    int32_t beyond = state->filled - state->skipped - HALF - 1;
    int found = 0;
    if (beyond >= 0 && state->frame * KWS_HOP + beyond > HALF) {
        int end = state->filled; /* where the stream ends in state->audio; what is mirrored there lies before it */
        state->last_frame = state->frame + beyond / KWS_HOP;
        while (state->frame <= state->last_frame) {
            for (int i = state->filled - end; i < HALF && end + i < needed(state); i++) {
                state->audio[end + i] = state->audio[end - 2 - i];
            }
            state->filled = needed(state);
            found += hear_frames(state, steps + found);
            end -= KWS_LANES * KWS_HOP;
        }
    }
    kws_init(state);
    return found;
}
