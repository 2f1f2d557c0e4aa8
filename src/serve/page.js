// The page's script, within page.html where it says @SCRIPT@.
'use strict';
const $ = id => document.getElementById(id);
const make = (name, props, ...children) => {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
};
const pause = ms => new Promise(done => setTimeout(done, ms));
const announce = text => { $('live').textContent = text; };
const quoted = text => text.trim() ? `“${text.trim()}”` : 'without a prompt';

// ---- the server ------------------------------------------------------------------------------------------------
const keyOf = {
  get() { try { return sessionStorage.getItem('limn-key') || ''; } catch { return this.kept || ''; } },
  set(key) { this.kept = key; try { sessionStorage.setItem('limn-key', key); } catch { /* forgotten with the page */ } },
};

let asking = null;
function askKey() {
  asking ??= new Promise(done => {
    $('key').value = '';
    $('ask').returnValue = '';
    $('ask').onclose = () => {
      const key = $('ask').returnValue ? $('key').value.trim() : '';
      asking = null;
      if (key) keyOf.set(key);
      done(key);
    };
    $('ask').showModal();
  });
  return asking;
}

// The answer, or an error whose message is the server's sentence.
async function call(path, options = {}) {
  let answer;
  const headers = new Headers(options.headers);
  if (keyOf.get()) headers.set('Authorization', `Bearer ${keyOf.get()}`);
  try {
    answer = await fetch(path, { cache: 'no-store', ...options, headers });
  } catch (e) {
    throw e.name === 'AbortError' ? e : new Error('the server can’t be reached: is it still running?');
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => null);
  if (answer.status === 401 && await askKey()) return call(path, options);
  throw Object.assign(new Error(said?.error?.message || `the server answered ${answer.status}`), { param: said?.error?.param });
}

// The data of server-sent events.
async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = '';;) {
    const { value, done } = await reader.read().catch(e => {
      throw e.name === 'AbortError' ? e : new Error('the connection to the server broke');
    });
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split('\n').filter(line => line.startsWith('data:')).map(line => line.slice(5));
      if (data.length) yield data.join('\n');
    }
  }
}

const bytesOf = base64 => Uint8Array.from(atob(base64), c => c.charCodeAt(0));

// The settings that a PNG carries, as the command line writes them.
function settingsOf(png) {
  const view = new DataView(png.buffer, png.byteOffset);
  for (let at = 8; at + 12 <= png.length; at += 12 + view.getUint32(at)) {
    const type = String.fromCharCode(...png.subarray(at + 4, at + 8));
    const data = png.subarray(at + 8, at + 8 + view.getUint32(at)), end = data.indexOf(0);
    if (end < 0 || new TextDecoder().decode(data.subarray(0, end)) !== 'parameters') continue;
    if (type === 'tEXt') return new TextDecoder('latin1').decode(data.subarray(end + 1));
    if (type !== 'iTXt' || data[end + 1]) continue;
    const language = data.indexOf(0, end + 3), word = data.indexOf(0, language + 1);
    return new TextDecoder().decode(data.subarray(word + 1));
  }
  return '';
}

// ---- the form --------------------------------------------------------------------------------------------------
const numbers = { count: 'n', guidance: 'guidance', temperature: 'temperature', steps: 'steps', top_k: 'top_k', top_p: 'top_p',
                  strength: 'strength' };
const fields = ['prompt', 'model', 'size', 'seed', 'negative', 'sampler', ...Object.keys(numbers)];
const more = ['negative', 'sampler', 'temperature', 'steps', 'top_k', 'top_p'];

function fail(text, field) {
  $('error').hidden = !text;
  $('error').textContent = text || '';
  for (const e of $('form').querySelectorAll('[aria-invalid]')) e.removeAttribute('aria-invalid');
  if (!field) return;
  for (let e = field; e; e = e.parentElement) if (e.localName === 'details') e.open = true;
  field.setAttribute('aria-invalid', 'true');
  field.setAttribute('aria-errormessage', 'error');
  field.focus();
}

// The control of a field of the request.
const fieldOf = name => name && $(Object.keys(numbers).find(id => numbers[id] === name)
  || { negative_prompt: 'negative', image: 'file', mask: 'canvas' }[name] || name);

// The settings in the form; null, with a sentence on the page, where something isn't there.
function readForm() {
  for (const id of ['seed', ...Object.keys(numbers)])
    if ($(id).validity.badInput) return fail(`${$(id).labels[0].textContent}: a number is wanted`, $(id)), null;
  const values = Object.fromEntries(fields.map(id => [id, $(id).value.trim()]));
  if (!values.prompt && !edit.file) return fail('prompt: say in words what the picture shows', $('prompt')), null;
  return values;
}

function requestOf(values, job) {
  const body = { prompt: values.prompt, stream: true, partial_images: job.count > 1 ? 1 : 3, user: job.user };
  if (values.model) body.model = values.model;
  if (values.size) body.size = values.size;
  if (values.seed) body.seed = values.seed;
  if (values.negative) body.negative_prompt = values.negative;
  if (values.sampler && isThere('sampler')) body.sampler = values.sampler;
  for (const [id, name] of Object.entries(numbers)) if (values[id] && isThere(id)) body[name] = Number(values[id]);
  if (!edit.file) delete body.strength;
  return body;
}

const isThere = id => !$(id).parentElement.hidden; // the model has it

let models = [];
const factsOf = id => models.find(m => m.id === id)?.limn; // they are known once it was open

// JSON, with the seed as a number of digits of its own: those of JavaScript end at 2^53.
function jsonOf(request) {
  const { seed, ...rest } = request;
  const text = JSON.stringify(rest);
  return seed ? text.replace(/}$/, `,"seed":${/^\d+$/.test(seed) ? seed.replace(/^0+(?=.)/, '') : Number(seed)}}`) : text;
}

async function showModels() {
  const chosen = $('model').value;
  models = (await (await call('/v1/models')).json()).data;
  $('model').replaceChildren(...models.map(m => make('option', { value: m.id, textContent: m.id })));
  if (models.some(m => m.id === chosen)) $('model').value = chosen;
  showFacts();
}

// What an empty field means, and the sizes that the model draws.
function showFacts() {
  const facts = factsOf($('model').value), chosen = $('size').value, spaced = size => size.replace('x', ' × ');
  const others = ['256x256', '512x512', '1024x1024'].filter(size => size !== facts?.size && !facts?.sizes.includes(size));
  const draws = size => facts?.size_step && size.split('x').every(side => side % facts.size_step === 0);
  $('size').replaceChildren(
    make('option', { value: '', textContent: facts ? spaced(facts.size) : 'The model’s own' }),
    ...(facts?.sizes || []).filter(size => size !== facts.size)
      .map(size => make('option', { value: size, textContent: spaced(size) })),
    ...others.map(size => make('option', { value: size, textContent: spaced(size) + (draws(size) ? '' : ', scaled') })));
  $('size').value = chosen;
  if ($('size').selectedIndex < 0) $('size').selectedIndex = 0;
  for (const id of ['guidance', 'temperature', 'top_k', 'top_p', 'steps']) {
    $(id).parentElement.hidden = facts && (facts[id] === null || (id === 'steps' && !facts.steps));
    $(id).placeholder = !facts ? 'model’s' : !isThere(id) ? '' : facts[id] || id === 'temperature'
      ? String(+facts[id].toPrecision(4)) : 'none';
  }
  const sampler = $('sampler').value;
  $('sampler').parentElement.hidden = !facts?.samplers.length;
  $('sampler').replaceChildren(make('option', { value: '', textContent: `The model’s: ${facts?.sampler}` }),
    ...(facts?.samplers || []).map(name => make('option', { value: name, textContent: name })));
  $('sampler').value = sampler;
  if ($('sampler').selectedIndex < 0) $('sampler').selectedIndex = 0;
  $('strength').parentElement.hidden = !facts?.strength;
}

// ---- drawing ---------------------------------------------------------------------------------------------------
let work = null; // what is being drawn

function showProgress(job, text, part) {
  if (work !== job) return;
  $('stage').textContent = text;
  if (part == null) $('bar').removeAttribute('value');
  else $('bar').value = Math.max($('bar').value, part);
  const quarter = Math.floor((part || 0) * 4);
  if (quarter > job.told) {
    job.told = quarter;
    announce(`${quarter * 25} percent`);
  }
}

// What the list of jobs says of it, until it has ended.
async function watch(job) {
  const begin = performance.now();
  while (work === job) {
    await pause(300);
    const list = await call('/v1/jobs', { signal: job.abort.signal }).then(a => a.json()).then(a => a.data).catch(() => []);
    const own = list.find(j => j.user === job.user);
    if (!own) continue;
    if (own.status === 'waiting') {
      const ahead = list.filter(j => j.status === 'waiting' && j.created < own.created).length;
      showProgress(job, ahead ? `Waiting: ${ahead} ahead in the queue` : 'Waiting for its turn', null);
    } else if (own.status === 'working' && own.codes_total) {
      const part = own.codes / own.codes_total, seconds = (performance.now() - begin) / 1000;
      const left = part > .05 && seconds > 3 ? Math.ceil(seconds * (1 - part) / part) : 0;
      const many = job.count > 1 ? `, ${job.done} of ${job.count} ready` : '';
      showProgress(job, `Drawing: ${Math.floor(part * 100)} %${many}${left ? `, about ${left} s left` : ''}`, part);
    }
  }
}

async function bodyOf(values, job) {
  const request = requestOf(values, job);
  if (!edit.file) return ['/v1/images/generations', jsonOf(request), { 'Content-Type': 'application/json' }];
  const form = new FormData(), mask = await maskFile();
  Object.assign(job, { image: edit.file, mask });
  const whole = !mask && isThere('strength'); // changes
  if (whole) request.strength ??= .8;
  for (const [name, value] of Object.entries(request)) form.append(name, value);
  form.append('image', edit.file, edit.file.name || 'picture.png');
  if (mask) form.append('mask', mask, 'mask.png');
  return [mask || whole ? '/v1/images/edits' : '/v1/images/variations', form, {}];
}

async function take(job, values, event, data) {
  const i = event.index ?? job.done, png = new Blob([bytesOf(event.b64_json)], { type: 'image/png' });
  if (event.type.endsWith('.partial_image')) return showPreview(job.tiles[i], png);
  const seed = values.seed || /"seed": *(\d+)/.exec(data)?.[1] || '', [width, height] = event.size.split('x').map(Number);
  const text = settingsOf(new Uint8Array(await png.arrayBuffer()));
  job.done++;
  keep({ at: job.at, index: i, of: job.count, png, text, width, height, values: { ...values, seed }, image: job.image,
               mask: job.mask }, job.tiles[i]);
}

async function draw() {
  const values = work ? null : readForm();
  if (!values) return;
  const job = { user: `page-${[...crypto.getRandomValues(new Uint8Array(8))].map(b => b.toString(16).padStart(2, '0')).join('')}`,
                abort: new AbortController(), count: Math.min(64, Math.max(1, Number(values.count) || 1)), done: 0, told: 0,
                at: Date.now() };
  let wrong = null;
  fail('');
  begin(job);
  try {
    const [path, body, headers] = await bodyOf(values, job);
    const answer = await call(path, { method: 'POST', body, headers, signal: job.abort.signal });
    watch(job);
    for await (const data of events(answer)) {
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      await take(job, values, event, data);
    }
    if (job.done < job.count) throw new Error('the server ended before the picture was finished');
    announce(job.count > 1 ? `${job.count} pictures are ready` : 'The picture is ready');
  } catch (e) {
    if (e.name === 'AbortError') announce('Cancelled');
    else wrong = e;
  }
  end(job);
  if (!factsOf(values.model)) showModels().catch(() => {});
  if (wrong) fail(wrong.message, fieldOf(wrong.param));
}

function begin(job) {
  work = job;
  $('work').hidden = false;
  $('draw').setAttribute('aria-disabled', 'true');
  document.body.classList.add('works');
  $('bar').value = 0;
  showProgress(job, 'Sent to the server', null);
  announce('Drawing');
  job.tiles = Array.from({ length: job.count }, () => make('li', { className: 'card', ariaBusy: 'true' },
    make('div', { className: 'frame waits' }), make('p', { className: 'about', textContent: 'To come' })));
  $('gallery').prepend(...job.tiles);
  arrange();
  const { top, bottom } = job.tiles[0].getBoundingClientRect();
  const smooth = !matchMedia('(prefers-reduced-motion: reduce)').matches;
  if (top > innerHeight - 120 || bottom < 60)
    job.tiles[0].scrollIntoView({ block: 'nearest', behavior: smooth ? 'smooth' : 'auto' });
}

function end(job) {
  const away = $('work').contains(document.activeElement);
  work = null;
  $('work').hidden = true;
  $('draw').removeAttribute('aria-disabled');
  document.body.classList.remove('works');
  for (const tile of job.tiles) if (tile.ariaBusy) tile.remove();
  if (away) $('draw').focus();
  arrange();
}

// On a canvas: what isn't finished is no picture to save.
async function showPreview(tile, png) {
  const bitmap = await createImageBitmap(png);
  const canvas = make('canvas', { width: bitmap.width, height: bitmap.height, className: bitmap.width <= 160 ? 'pixels' : '' });
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', 'Preview');
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  if (!tile.ariaBusy) return;
  tile.firstChild.replaceChildren(canvas);
  tile.firstChild.classList.remove('waits');
  tile.lastChild.textContent = 'Preview';
}

// ---- the gallery -----------------------------------------------------------------------------------------------
const most = { pictures: 200, bytes: 128 << 20 };
let pictures = []; // the newest first
const database = new Promise(done => {
  let r;
  try { r = indexedDB.open('limn', 1); } catch { return done(null); }
  r.onupgradeneeded = () => r.result.createObjectStore('pictures', { keyPath: 'id', autoIncrement: true });
  r.onsuccess = () => done(r.result);
  r.onerror = r.onblocked = () => done(null);
  setTimeout(done, 3000, null); // a page that was left in the midst of its first opening holds it
});

// The result of one request to the store; undefined where the browser keeps nothing.
async function store(mode, ask) {
  const db = await database;
  return !db ? undefined : new Promise(done => {
    try {
      const t = db.transaction('pictures', mode), r = ask(t.objectStore('pictures'));
      t.oncomplete = () => done(r.result);
      t.onerror = t.onabort = () => done(undefined);
    } catch { done(undefined); }
  });
}

const nameOf = p => `limn-${(p.values.prompt || 'variation').toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 40)
  .replace(/^-|-$/g, '')}-${p.values.seed}${p.of > 1 ? `-${p.index + 1}` : ''}.png`;

function picture(p) {
  return make('img', { src: p.url, alt: p.values.prompt || 'A variation', width: p.width, height: p.height,
                       className: p.width <= 160 ? 'pixels' : '', decoding: 'async' });
}

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('aria-hidden', 'true');
  svg.append(document.createElementNS('http://www.w3.org/2000/svg', 'use'));
  svg.firstChild.setAttribute('href', `#i-${name}`);
  return svg;
}

const actions = [['view', 'View', show], ['reuse', 'Reuse settings', reuse], ['edit', 'Use as image prompt', usePicture],
                 ['copy', 'Copy settings', copy], ['download', 'Download', null], ['delete', 'Delete', forget]];

// The buttons of a picture: with words, or icons that have words as their names.
function toolsOf(p, words) {
  const tools = make('div', { className: words ? 'row' : 'tools' });
  for (const [sign, name, act] of actions) {
    if (words && act === show) continue;
    const tool = act ? make('button', { type: 'button', onclick: () => act(p) })
                     : make('a', { href: p.url, download: nameOf(p), className: 'button' });
    tool.append(icon(sign));
    if (words) tool.append(name);
    else Object.assign(tool, { title: name, ariaLabel: `${name}: ${p.label}` });
    tools.append(tool);
  }
  return tools;
}

function fill(tile, p) {
  const many = p.of > 1 ? `, ${p.index + 1} of ${p.of}` : '', frame = make('div', { className: 'frame' }, picture(p));
  frame.firstChild.onclick = () => show(p);
  tile.ariaBusy = null;
  tile.replaceChildren(frame, make('p', { className: 'about' }, make('span', { textContent: p.values.prompt || 'A variation' }),
    make('small', { textContent: `seed ${p.values.seed}${many}${p.mask ? ', edited' : ''}` })), toolsOf(p, false));
}

function addPicture(p, tile) {
  p.url = URL.createObjectURL(p.png);
  p.label = `${p.values.prompt || 'variation'}, seed ${p.values.seed}${p.of > 1 ? `, ${p.index + 1} of ${p.of}` : ''}`;
  p.tile = tile;
  fill(tile, p);
}

function keep(p, tile) {
  addPicture(p, tile);
  const { url, label, tile: own, ...kept } = p;
  pictures.unshift(p);
  sort();
  arrange();
  store('readwrite', s => s.add(kept)).then(id => {
    p.id = id;
    if (id === undefined) sayWhatStays(false);
    else if (!pictures.includes(p)) store('readwrite', s => s.delete(id));
  });
  let bytes = 0;
  for (const [i, old] of [...pictures].entries()) {
    bytes += old.png.size + (old.image?.size || 0) + (old.mask?.size || 0);
    if (bytes > most.bytes || i >= most.pictures) drop(old);
  }
}

const sort = () => pictures.sort((a, b) => b.at - a.at || a.index - b.index);

function drop(p) {
  pictures = pictures.filter(other => other !== p);
  p.tile.remove();
  URL.revokeObjectURL(p.url);
  if (p.id !== undefined) store('readwrite', s => s.delete(p.id));
  arrange();
}

function arrange() {
  const tiles = $('gallery').children;
  for (const [i, tile] of [...tiles].entries())
    tile.classList.toggle('large', i === 0 && (work ? work.count === 1 : pictures[0]?.of === 1));
  $('empty').hidden = tiles.length > 0;
}

async function loadGallery() {
  const kept = await store('readonly', s => s.getAll());
  pictures = [...pictures, ...(kept || [])];
  sort();
  for (const p of pictures.filter(p => !p.tile)) {
    addPicture(p, make('li', { className: 'card' }));
    $('gallery').append(p.tile);
  }
  arrange();
  sayWhatStays(kept);
}

function sayWhatStays(kept) {
  $('kept').hidden = false;
  $('kept').textContent = kept
    ? `The newest ${most.pictures} pictures stay in this browser, and nowhere else. Each PNG carries its settings.`
    : 'This browser keeps nothing of this page: download what you like before you close it.';
}

function show(p) {
  $('view').replaceChildren(make('div', { className: 'frame' }, picture(p)),
    make('div', {}, make('h2', { id: 'view-title', textContent: p.values.prompt || 'A variation' }),
      make('pre', { textContent: p.text }), toolsOf(p, true)));
  $('view').querySelector('.row').append(make('button', { type: 'button', textContent: 'Close', onclick: closeView }));
  if (!$('viewer').open) $('viewer').showModal();
}

function closeView() {
  $('viewer').close();
}

$('viewer').onclose = () => $('view').replaceChildren();
$('viewer').onclick = e => { if (e.target === $('viewer')) closeView(); };

async function reuse(p) {
  closeView();
  if (p.image) await setPicture(p.image, p.mask);
  else if (edit.file) removePicture();
  for (const id of fields) {
    $(id).value = p.values[id] ?? '';
    if ($(id).selectedIndex === -1) $(id).selectedIndex = 0; // what it was isn't there any more
    if (id === 'model') showFacts();
  }
  $('more').open ||= more.some(id => p.values[id]);
  fail('');
  $('prompt').focus();
  announce('Its settings are in the form');
}

async function copy(p) {
  try {
    await navigator.clipboard.writeText(p.text);
  } catch { // not on pages without TLS from other machines
    const area = make('textarea', { value: p.text, className: 'seen-not' });
    ($('viewer').open ? $('viewer') : document.body).append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  announce('Settings copied');
}

function forget(p) {
  const near = p.tile.nextElementSibling || p.tile.previousElementSibling;
  closeView();
  drop(p);
  (near?.querySelector('button[title=Delete]') || $('gallery-title')).focus();
  announce('Deleted');
}

// ---- the image prompt and its mask -----------------------------------------------------------------------------
// The mask is a canvas of its own, transparent where the picture stays.
const edit = { file: null, bitmap: null, size: null, mask: make('canvas'), x: .5, y: .5, last: null, seen: false };
const paper = $('canvas').getContext('2d'), paint = edit.mask.getContext('2d', { willReadFrequently: true });
const tint = make('canvas').getContext('2d');
const stripes = (() => { // seen on pictures of any colour
  const c = make('canvas', { width: 24, height: 24 }).getContext('2d');
  c.fillStyle = '#c2187a';
  c.fillRect(0, 0, 24, 24);
  c.strokeStyle = '#fff';
  c.lineWidth = 4;
  for (const x of [-24, 0, 24]) {
    c.moveTo(x, 24);
    c.lineTo(x + 24, 0);
  }
  c.stroke();
  return tint.createPattern(c.canvas, 'repeat');
})();
const sent = ['image/png', 'image/jpeg', 'image/webp'];

async function setPicture(file, mask) {
  let bitmap, over = null;
  try {
    bitmap = await createImageBitmap(file);
    if (mask) over = await createImageBitmap(mask);
  } catch {
    $('file').value = '';
    return fail(`${file.name || 'the file'}: no picture that this browser can read`, $('file'));
  }
  fail('');
  const long = Math.max(bitmap.width, bitmap.height), scale = long > 1024 ? 1024 / long : Math.ceil(512 / long);
  edit.bitmap = bitmap;
  edit.file = file;
  edit.size = { width: bitmap.width, height: bitmap.height };
  $('canvas').width = edit.mask.width = Math.max(1, Math.round(bitmap.width * scale));
  $('canvas').height = edit.mask.height = Math.max(1, Math.round(bitmap.height * scale));
  if (!sent.includes(file.type) || file.size > 8e6) { // as a PNG that isn't too large
    paper.drawImage(bitmap, 0, 0, edit.mask.width, edit.mask.height);
    edit.file = await new Promise(done => $('canvas').toBlob(done));
    edit.size = { width: edit.mask.width, height: edit.mask.height };
  }
  if (over) {
    paintPart('0 0 1 1');
    paint.globalCompositeOperation = 'destination-out';
    paint.imageSmoothingEnabled = false;
    paint.drawImage(over, 0, 0, edit.mask.width, edit.mask.height);
  }
  $('editor').hidden = false;
  $('editor').parentElement.open = true;
  redraw();
}

function removePicture() {
  edit.file = edit.bitmap = null;
  $('file').value = '';
  $('editor').hidden = true;
  $('file').focus();
  announce('The picture is removed');
}

async function usePicture(p) {
  closeView();
  await setPicture(new File([p.png], nameOf(p), { type: 'image/png' }));
  $('canvas').focus();
  announce('It is the image prompt now');
}

const brush = () => Math.max(1, $('width').value / 100 * Math.min(edit.mask.width, edit.mask.height));

function redraw() {
  const { width, height } = edit.mask;
  if (!edit.bitmap) return;
  paper.imageSmoothingEnabled = edit.bitmap.width > 160;
  paper.clearRect(0, 0, width, height);
  paper.drawImage(edit.bitmap, 0, 0, width, height);
  tint.canvas.width = width; // and clears it
  tint.canvas.height = height;
  tint.drawImage(edit.mask, 0, 0);
  tint.globalCompositeOperation = 'source-in';
  tint.fillStyle = stripes;
  tint.fillRect(0, 0, width, height);
  paper.globalAlpha = .7;
  paper.drawImage(tint.canvas, 0, 0);
  paper.globalAlpha = 1;
  if (!edit.seen) return;
  const thin = width / Math.max(1, $('canvas').clientWidth);
  for (const [color, wide] of [['#000', 3 * thin], ['#fff', 1.5 * thin]]) {
    paper.beginPath();
    paper.arc(edit.x * width, edit.y * height, brush() / 2, 0, 7);
    paper.lineWidth = wide;
    paper.strokeStyle = color;
    paper.stroke();
  }
}

// A line of the brush from where it was to where it is.
function stroke(from, erase) {
  const { width, height } = edit.mask;
  paint.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
  paint.strokeStyle = '#000';
  paint.lineCap = 'round';
  paint.lineWidth = brush();
  paint.beginPath();
  paint.moveTo(from[0] * width, from[1] * height);
  paint.lineTo(edit.x * width + .01, edit.y * height);
  paint.stroke();
  redraw();
}

const erases = () => document.querySelector('[name=brush]:checked').value === 'erase';

function paintPart(part) {
  const { width, height } = edit.mask;
  paint.globalCompositeOperation = part === 'invert' ? 'xor' : 'source-over';
  paint.fillStyle = '#000';
  if (part === 'clear') paint.clearRect(0, 0, width, height);
  else if (part === 'invert') paint.fillRect(0, 0, width, height);
  else {
    const [x, y, w, h] = part.split(' ').map(Number);
    paint.fillRect(Math.round(x * width), Math.round(y * height), Math.round(w * width), Math.round(h * height));
  }
  redraw();
}

// The mask as the server wants it, of the picture's size and transparent where it is painted; null without paint.
async function maskFile() {
  const { width, height } = edit.size, canvas = make('canvas', { width, height }), to = canvas.getContext('2d');
  to.imageSmoothingEnabled = false;
  to.drawImage(edit.mask, 0, 0, width, height);
  const pixels = to.getImageData(0, 0, width, height);
  let painted = false;
  for (let i = 3; i < pixels.data.length; i += 4) {
    painted ||= pixels.data[i] > 127;
    pixels.data[i] = pixels.data[i] > 127 ? 0 : 255;
  }
  if (!painted) return null;
  to.putImageData(pixels, 0, 0);
  return new Promise(done => canvas.toBlob(done));
}

function place(e) {
  const box = $('canvas').getBoundingClientRect(), { width, height } = edit.mask; // the picture is within it, whole
  const scale = Math.min(box.width / width, box.height / height);
  edit.x = Math.min(1, Math.max(0, (e.clientX - box.left - (box.width - width * scale) / 2) / (width * scale)));
  edit.y = Math.min(1, Math.max(0, (e.clientY - box.top - (box.height - height * scale) / 2) / (height * scale)));
  edit.seen = true;
}

$('canvas').onpointerdown = e => {
  if (e.button) return;
  $('canvas').setPointerCapture(e.pointerId);
  place(e);
  edit.last = [edit.x, edit.y];
  stroke(edit.last, erases());
};
$('canvas').onpointermove = e => {
  place(e);
  if (edit.last) {
    stroke(edit.last, erases());
    edit.last = [edit.x, edit.y];
  } else redraw();
};
$('canvas').onpointerup = $('canvas').onpointercancel = () => { edit.last = null; };
$('canvas').onpointerleave = $('canvas').onblur = () => { edit.seen = document.activeElement === $('canvas'); redraw(); };
$('canvas').onfocus = () => { edit.seen = true; redraw(); };
$('canvas').onkeydown = e => {
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
  const size = { '+': 4, '=': 4, '-': -4 }[e.key], from = [edit.x, edit.y];
  if (e.ctrlKey || e.metaKey || e.altKey || (!way && !size && e.key !== ' ')) return;
  e.preventDefault();
  if (way) {
    edit.x = Math.min(1, Math.max(0, edit.x + way[0] / 20));
    edit.y = Math.min(1, Math.max(0, edit.y + way[1] / 20));
  }
  if (size) $('width').value = Number($('width').value) + size;
  const paints = e.key === ' ' || (way && e.shiftKey);
  if (paints) stroke(from, erases());
  else redraw();
  announce(size ? `Brush size ${$('width').value}` : `${Math.round(edit.x * 100)} across, ${Math.round(edit.y * 100)} down`
    + (paints ? erases() ? ', erased' : ', painted' : ''));
};
for (const button of document.querySelectorAll('[data-part]'))
  button.onclick = () => { paintPart(button.dataset.part); announce(`${button.textContent}: done`); };
$('width').oninput = redraw;
$('remove').onclick = removePicture;
$('file').onchange = () => { if ($('file').files[0]) setPicture($('file').files[0]); };
addEventListener('paste', e => {
  const file = [...e.clipboardData.files].find(f => f.type.startsWith('image/'));
  if (file) e.preventDefault(), setPicture(file);
});
addEventListener('dragover', e => { if (e.dataTransfer.types.includes('Files')) e.preventDefault(); });
addEventListener('drop', e => {
  const file = [...e.dataTransfer.files].find(f => f.type.startsWith('image/'));
  if (file) e.preventDefault(), setPicture(file);
});

// ---- the start -------------------------------------------------------------------------------------------------
$('form').onsubmit = e => { e.preventDefault(); draw(); };
$('prompt').onkeydown = e => {
  if (e.key !== 'Enter' || e.shiftKey || e.isComposing) return;
  e.preventDefault();
  draw();
};
$('cancel').onclick = () => work?.abort.abort();
async function start() {
  $('model').onchange = showFacts;
  showFacts();
  loadGallery();
  if (document.querySelector('[name=limn-key]').content === 'needed' && !keyOf.get() && !await askKey()) return;
  await showModels();
}
start().catch(e => fail(e.message));
