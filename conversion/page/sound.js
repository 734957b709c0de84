"use strict";
/* Sound without a screen: files, resampling, the stream in WebAssembly, the detector. */

const SAMPLE_RATE = 16_000; // Hz, of the models

const greatestDivisor = (a, b) => (b ? greatestDivisor(b, a % b) : a);

/* Modified Bessel function of the first kind, order 0, by its power series. */
function bessel(x) {
  let sum = 1;
  for (let k = 1, term = 1; term > 1e-17 * sum; k++) sum += term *= (x / (2 * k)) ** 2;
  return sum;
}

/* scipy.signal.resample_poly with its own window, over a stream: output m is the sum over k of input k times
   tap [m down - k up] of a Kaiser-windowed sinc, which is centred, and zeros lie beyond both ends. */
class Resampler {
  constructor(rate) {
    const divisor = greatestDivisor(rate, SAMPLE_RATE);
    this.up = SAMPLE_RATE / divisor;
    this.down = rate / divisor;
    const most = Math.max(this.up, this.down);
    this.half = 10 * most;
    const taps = Float64Array.from({ length: 2 * this.half + 1 }, (_, n) => {
      const x = (Math.PI * (n - this.half)) / most;
      return (x ? Math.sin(x) / x : 1) * bessel(5 * Math.sqrt(Math.max(0, 1 - (n / this.half - 1) ** 2)));
    });
    const gain = this.up / taps.reduce((sum, tap) => sum + tap, 0);
    const length = Math.ceil(taps.length / this.up);
    this.phases = Array.from({ length: this.up }, (_, phase) =>
      Float64Array.from({ length }, (_, j) => gain * (taps[phase + j * this.up] ?? 0)));
    this.reset();
  }

  reset() {
    this.held = new Float64Array(this.phases[0].length); // the newest inputs
    this.heard = this.made = 0; // inputs and outputs so far
  }

  /* Takes in the next samples, and returns those at 16 kHz that they complete. */
  push(samples) {
    if (this.up === this.down) return Float32Array.from(samples);
    const { up, down, half } = this, kept = this.held.length;
    const held = new Float64Array(kept + samples.length);
    held.set(this.held);
    held.set(samples, kept);
    const first = this.heard - kept; // the number of held[0]
    this.heard += samples.length;
    const until = Math.max(this.made, Math.ceil((this.heard * up - half) / down));
    const found = new Float32Array(until - this.made);
    for (let i = 0; i < found.length; i++) {
      const at = (this.made + i) * down + half, taps = this.phases[at % up], newest = Math.floor(at / up) - first;
      let sum = 0;
      for (let j = 0; j < taps.length; j++) sum += taps[j] * held[newest - j];
      found[i] = sum;
    }
    this.made = until;
    this.held = held.slice(held.length - kept);
    return found;
  }

  /* Ends the stream: returns what is left, and starts a new one. */
  flush() {
    if (this.up === this.down) return new Float32Array(0);
    const left = Math.ceil((this.heard * this.up) / this.down) - this.made;
    const found = this.push(new Float32Array(Math.ceil(this.half / this.up) + 1)).slice(0, left);
    this.reset();
    return found;
  }
}

/* How a WAV file's samples are read, by its format's number and its bits. */
const READERS = {
  "1/8": (view, at) => view.getUint8(at) / 128 - 1,
  "1/16": (view, at) => view.getInt16(at, true) / 2 ** 15,
  "1/24": (view, at) => (view.getUint16(at, true) + view.getInt8(at + 2) * 2 ** 16) / 2 ** 23,
  "1/32": (view, at) => view.getInt32(at, true) / 2 ** 31,
  "3/32": (view, at) => view.getFloat32(at, true),
  "3/64": (view, at) => view.getFloat64(at, true),
};

const letters = (buffer, at, count) => String.fromCharCode(...new Uint8Array(buffer).subarray(at, at + count));

/* Rate and samples of a WAV file, its channels averaged; null where it is none, or holds neither PCM nor floats. */
function readWav(buffer) {
  if (letters(buffer, 0, 4) !== "RIFF" || letters(buffer, 8, 4) !== "WAVE") return null;
  const view = new DataView(buffer);
  let format = null;
  for (let at = 12, size; at + 8 <= buffer.byteLength; at += 8 + size + (size % 2)) {
    size = Math.min(view.getUint32(at + 4, true), buffer.byteLength - at - 8); // a recorder that was killed leaves no size
    const name = letters(buffer, at, 4);
    if (name === "fmt " && size >= 16) {
      const [kind, channels, bits] = [at + 8, at + 10, at + 22].map((place) => view.getUint16(place, true));
      const plain = kind === 0xfffe && size >= 26 ? view.getUint16(at + 32, true) : kind; // extensible
      format = { read: READERS[`${plain}/${bits}`], width: bits / 8, channels, rate: view.getUint32(at + 12, true) };
    } else if (name === "data") {
      if (!format?.read || !format.channels) return null;
      const { read, width, channels, rate } = format;
      const samples = new Float32Array(Math.floor(size / (width * channels)));
      for (let i = 0, place = at + 8; i < samples.length; i++) {
        let sum = 0;
        for (let channel = 0; channel < channels; channel++, place += width) sum += read(view, place);
        samples[i] = sum / channels;
      }
      return { rate, samples };
    }
  }
  return null;
}

/* The rate that FLAC and Ogg Vorbis name in their headers, so that the browser does not resample. */
function namedRate(buffer) {
  const view = new DataView(buffer);
  if (letters(buffer, 0, 4) === "fLaC") return view.getUint32(18) >>> 12;
  return letters(buffer, 0, 4) === "OggS" && letters(buffer, 29, 6) === "vorbis" ? view.getUint32(40, true) : 48_000;
}

/* Rate and samples of a sound file, its channels averaged. */
async function readSound(buffer) {
  let sound = readWav(buffer);
  if (!sound) {
    const decoded = await new OfflineAudioContext(1, 1, namedRate(buffer)).decodeAudioData(buffer);
    const channels = Array.from({ length: decoded.numberOfChannels }, (_, i) => decoded.getChannelData(i));
    const mean = (_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length;
    sound = { rate: decoded.sampleRate, samples: Float32Array.from({ length: decoded.length }, mean) };
  }
  if (!sound.samples.length) throw new Error("no samples");
  if (sound.rate < 4_000 || sound.rate > 192_000) throw new Error(`sample rate of ${sound.rate} Hz`);
  return sound;
}

/* A model's stream. `onStep(end, probability, score)` hears of every step: the sample it ends at, the keyword's
   probability and the smoothed one. `onFrame(power)` sees the mel power of every frame. */
class Spotter {
  static async load(model, onStep, onFrame) {
    const bytes = Uint8Array.from(atob(model.wasm), (letter) => letter.charCodeAt(0));
    return new Spotter((await WebAssembly.instantiate(bytes)).instance.exports, model, onStep, onFrame);
  }

  constructor(program, model, onStep, onFrame) {
    const memory = program.memory.buffer; // which never grows
    Object.assign(this, { program, mels: model.mels, onStep, onFrame, view: new DataView(memory) });
    this.input = new Float32Array(memory, program.input.value, model.block);
    this.frames = new Float32Array(memory, program.frames.value);
    program.reset();
  }

  reset() {
    this.program.reset();
  }

  /* Takes in samples at 16 kHz, any number of them. */
  push(samples) {
    for (let at = 0; at < samples.length; at += this.input.length) {
      const piece = samples.subarray(at, at + this.input.length);
      this.input.set(piece);
      const count = this.program.push(piece.length);
      if (count < 0) throw new Error("NaN or infinite samples");
      const frames = this.view.getInt32(this.program.num_frames.value, true);
      for (let i = 0; i < frames; i++) this.onFrame(this.frames.subarray(i * this.mels, (i + 1) * this.mels));
      this.say(count);
    }
  }

  /* Ends the stream and starts a new one. */
  flush() {
    this.say(this.program.flush());
  }

  say(count) {
    for (let i = 0, at = this.program.steps.value; i < count; i++, at += 24) {
      const end = this.view.getUint32(at, true) + this.view.getUint32(at + 4, true) * 2 ** 32;
      this.onStep(end, this.view.getFloat32(at + 8, true), this.view.getFloat32(at + 12, true));
    }
  }
}

/* The rule of kws_jax.detector: a score that rises over the level triggers, if no other step did shortly before. */
class Detector {
  constructor(level, refractorySteps) {
    Object.assign(this, { level, refractorySteps, wasAbove: false, wait: 0 });
  }

  push(score) {
    const isAbove = score >= this.level, triggers = isAbove && !this.wasAbove && this.wait <= 1;
    this.wasAbove = isAbove;
    this.wait = triggers ? this.refractorySteps : Math.max(this.wait - 1, 0);
    return triggers;
  }
}
