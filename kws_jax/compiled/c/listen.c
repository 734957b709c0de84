/* Listens for the keyword in raw PCM on standard input (16 bits, little-endian, one channel, 16 kHz) and prints a line
   of JSON for each detection: seconds of audio up to the end of what decided, and the smoothed probability. */
#include <signal.h>
#include <stdio.h>

#include "kws.h"

static int say(const kws_step *steps, int count) {
    for (int i = 0; i < count; i++) {
        if (!steps[i].is_detection) continue;
        printf("{\"time\": %.4f, \"probability\": %.6f}\n", (double)steps[i].end / KWS_SAMPLE_RATE, (double)steps[i].score);
        if (fflush(stdout)) return 1;
    }
    return 0;
}

int main(void) {
    static kws_state stream;
    static kws_step steps[KWS_FLUSH_STEPS > KWS_MAX_STEPS(KWS_BLOCK) ? KWS_FLUSH_STEPS : KWS_MAX_STEPS(KWS_BLOCK)];
    unsigned char bytes[2 * KWS_BLOCK];
    int16_t samples[KWS_BLOCK];
    size_t heard = 0, got;
#ifdef SIGPIPE
    signal(SIGPIPE, SIG_IGN); /* a reader that goes away ends it well, at the next line */
#endif
    kws_init(&stream);
    fprintf(stderr, "listening for %s from probability %g on%s; Ctrl-C ends\n", KWS_KEYWORD, (double)KWS_THRESHOLD,
            KWS_MEANING);
    while ((got = fread(bytes, 1, sizeof bytes, stdin)) > 0) {
        for (size_t i = 0; i < got / 2; i++) samples[i] = (int16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8);
        if (say(steps, kws_push_int16(&stream, samples, got / 2, steps))) return 0;
        if (got % 2) fprintf(stderr, "warning: left out half a sample at the end: is this 16-bit PCM?\n");
        heard += got / 2;
    }
    if (ferror(stdin) || !heard) {
        fprintf(stderr, "error: no samples on standard input: it takes 16-bit PCM, one channel, 16 kHz\n");
        return 1;
    }
    say(steps, kws_flush(&stream, steps));
    return 0;
}
