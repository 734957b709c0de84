/* What is on the screen: controls, plot, list of triggers. */

const $ = (id) => document.getElementById(id);
const models = JSON.parse($("models").textContent);
const SPAN = 10; // seconds that the plot shows
const SLICE = 20; // seconds of a file that are heard at once, between which the page stays alive
const LEAST = 0.01, MOST = 0.9999; // probabilities that the plot tells apart
const QUIET = -40, LOUD = 30; // dB, the ends of the colours
const REMEMBERED = 2 ** 15; // frames of the microphone's spectrogram
const CIVIDIS = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]]; // for colour-blind eyes
// The microphone's samples, a thousand at a time.
const EAR = `registerProcessor("ear", class extends AudioWorkletProcessor {
  held = new Float32Array(1024); count = 0;
  process([[samples]]) {
    if (samples) {
      this.held.set(samples, this.count);
      this.count += samples.length;
      if (this.count > this.held.length - samples.length) {
        this.port.postMessage(this.held.slice(0, this.count));
        this.count = 0;
      }
    }
    return true;
  }
})`;

let model, spotter, detector; // of the keyword that is chosen
let steps, frames, levels, heard; // ends and scores so far; frames so far, their loudness in a ring; samples at 16 kHz
let sound = null, microphone = null; // the file that was opened; what stops the microphone
let turn = 0; // counts what was begun, so that what is overtaken ends
let position = null; // seconds that are shown last; null follows the stream

function say(text, isWrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", isWrong);
}

const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

/* Empties plot and list, with room for the loudness of so many frames. */
function clear(room) {
  [steps, frames, heard, position] = [[], 0, 0, null];
  levels = new Uint8ClampedArray(room * model.mels);
  spotter.reset();
  detect();
}

/* Lists the triggers of all steps so far, at the chosen threshold. */
function detect() {
  const { level } = model.points[$("point").selectedIndex];
  detector = new Detector(level, model.refractorySteps);
  $("triggers").replaceChildren();
  for (const step of steps) judge(step);
  $("none").hidden = $("triggers").childElementCount > 0;
  refresh();
}

function judge(step) {
  step.triggers = detector.push(step.score);
  if (!step.triggers) return;
  const item = document.createElement("li"), button = document.createElement("button"), time = document.createElement("b");
  time.textContent = `${step.time.toFixed(2)} s`;
  button.append(time, `probability ${step.score.toFixed(5)}`);
  button.title = "Show it";
  button.onclick = () => show(step.time + SPAN / 4);
  Object.assign(item.dataset, { time: step.time, probability: step.score });
  item.append(button);
  $("triggers").prepend(item);
  $("none").hidden = true;
}

function onStep(end, _, score) {
  const step = { time: end / SAMPLE_RATE, score };
  steps.push(step);
  judge(step);
}

function onFrame(power) {
  const room = levels.length / model.mels, at = (frames++ % room) * model.mels;
  for (let mel = 0; mel < model.mels; mel++) {
    levels[at + mel] = (255 * (10 * Math.log10(power[mel] + 1e-12) - QUIET)) / (LOUD - QUIET);
  }
}

function take(samples) {
  spotter.push(samples);
  heard += samples.length;
  refresh();
}

/* Hears a file, unless something else is begun meanwhile. */
async function hear() {
  const { rate, samples, name } = sound, mine = ++turn, resampler = new Resampler(rate);
  clear(Math.ceil((samples.length / rate) * SAMPLE_RATE / model.hop) + 2);
  for (let at = 0; at < samples.length; at += SLICE * rate) {
    take(resampler.push(samples.subarray(at, at + SLICE * rate)));
    await new Promise((resolve) => setTimeout(resolve));
    if (mine !== turn) return;
  }
  take(resampler.flush());
  spotter.flush();
  show((steps.find((step) => step.triggers)?.time ?? 0) + SPAN / 4);
  say(`${name}: heard ${(samples.length / rate).toFixed(1)} s, ${count($("triggers").childElementCount, "trigger")}.`);
}

async function openFile(file) {
  try {
    stopMicrophone();
    say(`Reading ${file.name} …`);
    await ready;
    const found = await readSound(await file.arrayBuffer());
    sound = { ...found, name: file.name };
    await hear();
  } catch (error) {
    sound = null;
    say(`${file.name} cannot be heard: ${error.message}`, true);
  }
}

async function startMicrophone() {
  let stream;
  try {
    await ready;
    if (!navigator.mediaDevices) throw new Error("browsers lend it to pages from https or from the disk only");
    const exact = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio: exact });
    const context = new AudioContext();
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(EAR)}`);
    const ear = new AudioWorkletNode(context, "ear", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    const resampler = new Resampler(context.sampleRate);
    ear.port.onmessage = ({ data }) => microphone && take(resampler.push(data));
    sound = null;
    turn++;
    clear(REMEMBERED);
    microphone = () => {
      for (const track of stream.getTracks()) track.stop();
      context.close();
      take(resampler.flush());
      spotter.flush();
    };
    stream.getTracks()[0].onended = stopMicrophone;
    context.createMediaStreamSource(stream).connect(ear);
    context.resume(); // where a page's sound waits for a click, this was one
    $("microphone").textContent = "Stop microphone";
    say(`Listening at ${context.sampleRate} Hz.`);
  } catch (error) {
    for (const track of stream?.getTracks() ?? []) track.stop();
    say(`No microphone: ${error.message}`, true);
  }
}

function stopMicrophone() {
  if (!microphone) return;
  const end = microphone;
  microphone = null;
  end();
  $("microphone").textContent = "Start microphone";
  say(`Heard ${(heard / SAMPLE_RATE).toFixed(1)} s, ${count($("triggers").childElementCount, "trigger")}.`);
}

/* Takes another keyword: a file is heard again, the microphone from now on. */
async function choose(index) {
  const loaded = await Spotter.load(models[index], onStep, onFrame);
  if (index !== $("model").selectedIndex) return;
  [model, spotter] = [models[index], loaded];
  $("word").textContent = model.keyword;
  $("origin").textContent = model.origin;
  $("point").replaceChildren(...model.points.map((point) => new Option(point.name)));
  $("point").selectedIndex = model.point;
  explain();
  if (!sound) clear(REMEMBERED);
  else await hear();
}

function explain() {
  $("meaning").textContent = model.points[$("point").selectedIndex].meaning;
}

/* ---- the plot ---- */

let isDrawing = false;

function refresh() {
  if (!isDrawing) requestAnimationFrame(draw);
  isDrawing = true;
}

function show(time) {
  const now = heard / SAMPLE_RATE;
  position = microphone && time >= now ? null : Math.max(Math.min(SPAN, now), Math.min(time, now));
  refresh();
}

function draw() {
  isDrawing = false;
  const now = heard / SAMPLE_RATE, last = Math.max(SPAN, position ?? now), first = last - SPAN;
  $("position").hidden = now <= SPAN;
  Object.assign($("position"), { min: SPAN, max: now.toFixed(1), value: last });
  const canvas = $("plot"), scale = devicePixelRatio || 1, { clientWidth: width, clientHeight: height } = canvas;
  Object.assign(canvas, { width: width * scale, height: height * scale });
  const paint = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`);
  paint.scale(scale, scale);
  paint.font = "12px system-ui, sans-serif";
  const left = 48, right = width - 8, top = 14, middle = Math.round(height * 0.58), under = middle + 10, bottom = height - 22;
  const x = (time) => left + ((time - first) / SPAN) * (right - left);
  const logit = (p) => Math.log(p / (1 - p));
  const y = (p) => {
    const part = (logit(Math.max(LEAST, Math.min(MOST, p))) - logit(LEAST)) / (logit(MOST) - logit(LEAST));
    return middle - part * (middle - top);
  };
  const line = (name, thickness, dashes, points) => {
    paint.beginPath();
    points.forEach(([a, b]) => paint.lineTo(a, b));
    Object.assign(paint, { strokeStyle: colour(name), lineWidth: thickness });
    paint.setLineDash(dashes);
    paint.stroke();
  };

  paint.fillStyle = colour("faint");
  paint.textAlign = "right";
  for (const p of [0.01, 0.1, 0.5, 0.9, 0.99, 0.999]) {
    line("rule", 1, [], [[left, y(p)], [right, y(p)]]);
    paint.fillText(p, left - 6, y(p) + 4);
  }
  paint.fillText(`${model.highest / 1000} kHz`, left - 6, under + 12);
  paint.fillText(`${model.lowest} Hz`, left - 6, bottom);
  paint.textAlign = "center";
  for (let second = Math.ceil(first); second <= last; second++) {
    if (width > 600 || second % 2 === 0) paint.fillText(`${second} s`, Math.min(x(second), right - 10), height - 5);
  }
  drawLevels(paint, colour("soft"), first, x, left, right, under, bottom);

  paint.save();
  paint.beginPath();
  paint.rect(left, 0, right - left, height);
  paint.clip();
  const { level } = model.points[$("point").selectedIndex];
  line("level", 2, [6, 3], [[left, y(level)], [right, y(level)]]);
  const number = (time) => Math.max(0, Math.ceil(((time - (steps[0]?.time ?? 0)) * SAMPLE_RATE) / model.block));
  const shown = steps.slice(Math.max(0, number(first) - 1), number(last) + 1);
  line("line", 2, [], shown.map((step) => [x(step.time), y(step.score)]));
  for (const { time } of shown.filter((step) => step.triggers)) {
    line("mark", 1, [], [[x(time), top], [x(time), bottom]]);
    paint.fillStyle = colour("mark");
    paint.beginPath();
    [[-6, 2], [6, 2], [0, 13]].forEach(([a, b]) => paint.lineTo(x(time) + a, b));
    paint.fill();
  }
  paint.restore();
}

/* The spectrogram's visible part: a small picture, a pixel a frame and band, stretched. */
function drawLevels(paint, ground, first, x, left, right, top, bottom) {
  paint.fillStyle = ground;
  paint.fillRect(left, top, right - left, bottom - top);
  const second = SAMPLE_RATE / model.hop, room = levels.length / model.mels;
  const from = Math.max(Math.floor(first * second), frames - room, 0), until = Math.min(frames, Math.ceil((first + SPAN) * second));
  if (until <= from) return;
  const picture = new OffscreenCanvas(until - from, model.mels), ink = picture.getContext("2d");
  const pixels = ink.createImageData(picture.width, picture.height);
  for (let frame = from; frame < until; frame++) {
    for (let mel = 0; mel < model.mels; mel++) {
      const at = 4 * ((model.mels - 1 - mel) * picture.width + frame - from);
      pixels.data.set(COLOURS[levels[(frame % room) * model.mels + mel]], at);
    }
  }
  ink.putImageData(pixels, 0, 0);
  paint.save();
  paint.beginPath();
  paint.rect(left, top, right - left, bottom - top);
  paint.clip();
  paint.imageSmoothingEnabled = false;
  paint.drawImage(picture, x(from / second), top, x(until / second) - x(from / second), bottom - top);
  paint.restore();
}

const COLOURS = Array.from({ length: 256 }, (_, level) => {
  const at = (level / 255) * (CIVIDIS.length - 1), below = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return [...CIVIDIS[below].map((part, i) => part + (at - below) * (CIVIDIS[below + 1][i] - part)), 255];
});

/* ---- controls ---- */

$("model").replaceChildren(...models.map(({ name }) => new Option(name)));
$("words").hidden = models.length < 2;
$("model").onchange = () => choose($("model").selectedIndex).catch(({ message }) => say(message, true));
$("point").onchange = () => {
  explain();
  detect();
  if (heard) say(`${count($("triggers").childElementCount, "trigger")} at this threshold.`);
};
$("microphone").onclick = () => (microphone ? stopMicrophone() : startMicrophone());
$("file").onchange = ({ target }) => {
  if (target.files.length) openFile(target.files[0]);
  target.value = ""; // so that the same file can be opened again
};
$("position").oninput = ({ target }) => show(target.valueAsNumber + 0.05);
addEventListener("dragover", (event) => (event.preventDefault(), document.body.classList.add("dropping")));
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
});
addEventListener("resize", refresh);
matchMedia("(prefers-color-scheme: dark)").onchange = refresh;
const ready = choose(0);
ready.catch(({ message }) => say(`This browser cannot run the model: ${message}`, true));
