/* A keyword spotter over a stream of samples at 16 kHz: one channel, chunks of any length, no memory of its own.

       kws_state stream;
       kws_step steps[KWS_MAX_STEPS(COUNT)];
       kws_init(&stream);
       for (...) {
           int found = kws_push_int16(&stream, samples, COUNT, steps);
           for (int i = 0; i < found; i++) if (steps[i].is_detection) ...
       }

   Whatever the chunks, the steps are those of the offline model, each attending over the trailing window. */
#ifndef KWS_H
#define KWS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

@SIZES@

/* Frames that are transformed at once, side by side in vectors of GCC and Clang: KWS_MOST_LANES or fewer, a power of two.
   The most is fastest; 1 needs least memory and suits any compiler, and any arithmetic in which a float is more than one.
   The same for kws.c and for all that include this: the state's size follows from it. */
#ifndef KWS_LANES
#if defined __GNUC__ && __FLT_EVAL_METHOD__ != 1 && __FLT_EVAL_METHOD__ != 2
#define KWS_LANES KWS_MOST_LANES
#else
#define KWS_LANES 1
#endif
#endif

#define KWS_BLOCK (KWS_STEP_FRAMES * KWS_HOP)          /* samples between steps */
#define KWS_MAX_STEPS(count) ((count) / KWS_BLOCK + 2) /* that so many samples can complete */
#define KWS_FLUSH_STEPS KWS_MAX_STEPS(2 * KWS_WINDOW + 2 * KWS_BLOCK)
#define KWS_NOT_FINITE (-1)

/* A step: where its receptive field ends, in samples from the start of the stream; the keyword's probability; the mean
   of the last probabilities, which triggers; and whether it does. */
typedef struct {
    uint64_t end;
    float probability, score;
    int32_t is_detection;
} kws_step;

/* Everything a stream remembers; copy it to fork a stream. */
typedef struct {
    float audio[2 + KWS_WINDOW + (KWS_LANES - 1) * KWS_HOP];  /* from one sample before the next frame's left edge on */
    float smoother[KWS_PCEN ? KWS_MELS : 1];                  /* of PCEN */
    float pooling[KWS_POOLED_MELS];                           /* sum of the frames that are being pooled */
    float rows[KWS_KERNEL_FRAMES][KWS_POOLED_MELS];           /* pooled frames that the convolution still needs */
    float hidden[KWS_GRU_LAYERS][KWS_HIDDEN];
    float energies[KWS_ATTENTION_STEPS], votes[KWS_ATTENTION_STEPS];
    float recent[KWS_SMOOTHING];                              /* probabilities, oldest first */
    int64_t frame, last_frame;                                /* the next frame's number, and that of the stream's last */
    uint64_t steps;
    int32_t filled, skipped;                                  /* samples in audio, and samples to drop before it */
    int32_t num_pooled, num_rows, oldest, wait, was_above;
} kws_state;

/* Starts a stream. */
void kws_init(kws_state *state);

/* Takes in samples in [-1, 1]; what is louder than 32,768 is clipped. Returns the number of steps written to `steps`,
   or KWS_NOT_FINITE and takes in none of them where one is NaN or infinite. */
int kws_push(kws_state *state, const float *samples, size_t count, kws_step *steps);

/* The same for 16-bit PCM, which is always finite. */
int kws_push_int16(kws_state *state, const int16_t *samples, size_t count, kws_step *steps);

/* Ends the stream: the steps that need its mirrored right edge, at most KWS_FLUSH_STEPS; then starts a new one. */
int kws_flush(kws_state *state, kws_step *steps);

#ifdef __cplusplus
}
#endif
#endif
