/* Listens for the keyword in raw PCM on standard input (16 bits, little-endian, one channel, 16 kHz) and prints a line
   of JSON for each detection: seconds of audio up to the end of what decided, keyword, and smoothed probability. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kws.h"

/* Prints the detections among steps; false where nobody reads them any more, or they cannot be written. */
static int say(const kws_step *steps, int count) {
    for (int i = 0; i < count; i++) {
        if (!steps[i].is_detection) continue;
        printf("{\"time\": %.4f, \"keyword\": %s, \"probability\": %.6f}\n", (double)steps[i].end / KWS_SAMPLE_RATE,
               KWS_KEYWORD_IN_JSON, (double)steps[i].score);
        if (fflush(stdout)) return 0;
    }
    return 1;
}

/* How the program ends when a line is not taken: well where its reader went away. */
static int unread(void) {
#ifdef EPIPE
    if (errno == EPIPE) return 0;
#endif
    fprintf(stderr, "error: cannot write: %s\n", strerror(errno));
    return 1;
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
        if (!heard && got > 4 && !memcmp(bytes, "RIFF", 4)) {
            fprintf(stderr, "warning: this is a WAV file, whose header is heard as sound: give raw PCM\n");
        }
        if (!say(steps, kws_push_int16(&stream, samples, got / 2, steps))) return unread();
        if (got % 2) fprintf(stderr, "warning: left out half a sample at the end: is this 16-bit PCM?\n");
        heard += got / 2;
    }
    if (ferror(stdin) || !heard) {
        fprintf(stderr, "error: no samples on standard input: it takes 16-bit PCM, one channel, 16 kHz\n");
        return 1;
    }
    return say(steps, kws_flush(&stream, steps)) ? 0 : unread();
}
