/* What a page calls: the stream, buffers that it fills and reads, and the mel power of the frames it hears, to look at. */
#include "kws.c"

#define EXPORT __attribute__((visibility("default")))
#define MOST(a, b) ((a) > (b) ? (a) : (b))

EXPORT float input[KWS_BLOCK];
EXPORT kws_step steps[MOST(KWS_FLUSH_STEPS, KWS_MAX_STEPS(KWS_BLOCK))];
EXPORT float frames[2 * KWS_STEP_FRAMES][KWS_MELS];
EXPORT int32_t num_frames;

static kws_state stream;

EXPORT void reset(void) { kws_init(&stream); }

/* Takes in `count` samples of the input, at most KWS_BLOCK; returns the number of steps, or KWS_NOT_FINITE. */
EXPORT int push(int count) {
    int found = 0, from = 0;
    num_frames = 0;
    while (from < count) {
        int missing = needed(&stream) - stream.filled + stream.skipped;
        int last = from + missing - 1; /* the sample that completes the next frames */
        int got = kws_push(&stream, input + from, (size_t)(MOST(0, last < count ? last - from : count - from)), steps);
        if (got < 0 || last >= count) return got < 0 ? got : found;
        stream.audio[stream.filled] = input[last];
        mel_power(stream.audio + 1, frames[num_frames++]); /* KWS_LANES is 1 here: no frame comes before the stream */
        got = kws_push(&stream, input + last, 1, steps + found);
        if (got < 0) return got;
        found += got;
        from = last + 1;
    }
    return found;
}

/* Ends the stream; returns the number of steps. */
EXPORT int flush(void) { return kws_flush(&stream, steps); }
