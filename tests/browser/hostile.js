// What a page of another site tries against Orthanc; run inside that page by test_request_filter.py, which says which (`name`)
// and on what: `base` (Orthanc's address), `kept` (Orthanc's ids of a study), `api` (our own prefix).
//
// Each attack gives what it could read: 'loaded' or 'cors 200' would be something.

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const element = (tag, attributes, parent = document.body) => new Promise((done) => {
  const made = document.createElement(tag);
  made.onload = made.onloadeddata = () => done('loaded');
  made.onerror = () => done('refused');
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  setTimeout(() => done('nothing'), 3000);
});
const ask = (path, options = {}) => fetch(base + path, options).then((r) => `${r.type} ${r.status}`, () => 'refused');
const form = async (path, attributes = {}, fields = {}) => {
  const frame = document.createElement('iframe');
  frame.name = `frame${Math.random()}`;
  document.body.append(frame);
  const made = document.createElement('form');
  for (const [name, value] of Object.entries({ action: base + path, target: frame.name, ...attributes })) made.setAttribute(name, value);
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement('input');
    Object.assign(input, { name, value, type: 'hidden' });
    made.append(input);
  }
  document.body.append(made);
  made.submit();
  await wait(700);
};

const ATTACKS = {
  'images': async () => await Promise.all([`/patients/${kept.patient}`, `/studies/${kept.study}`, `/series/${kept.series}`,
        `/instances/${kept.instance}`, '/changes', '/exports', `${api}/plans/0`].map((p) => element('img', { src: `${base}${p}?_method=delete` }))),
  'put by an image': async () => element('img', { src: `${base}/modalities/x?_method=put` }),
  'scripts and styles': async () => await Promise.all([
        element('script', { src: `${base}/patients/${kept.patient}?_method=delete` }),
        element('script', { type: 'module', src: `${base}/patients/${kept.patient}?_method=delete` }),
        element('link', { rel: 'stylesheet', href: `${base}/patients/${kept.patient}?_method=delete` }, document.head)]),
  'media': async () => await Promise.all(['audio', 'video'].map((t) => element(t, { src: `${base}/patients/${kept.patient}?_method=delete` }))),
  'style of an element': async () => (document.body.style.backgroundImage = `url("${base}/patients/${kept.patient}?_method=delete&a=1")`, await wait(500), 'nothing'),
  'frames': async () => (element('iframe', { src: `${base}/patients/${kept.patient}?_method=delete` }),
        element('iframe', { src: `${base}/patients/${kept.patient}?_method=delete`, sandbox: '' }),
        element('embed', { src: `${base}/patients/${kept.patient}?_method=delete` }),
        element('object', { data: `${base}/patients/${kept.patient}?_method=delete` }), await wait(1200), 'nothing'),
  'a frame without a source': async () => (element('iframe', { srcdoc: `<img src="${base}/patients/${kept.patient}?_method=delete&srcdoc">` }), await wait(800), 'nothing'),
  'forms': async () => (await form(`/patients/${kept.patient}`, { method: 'get' }, { _method: 'delete' }),
        await form('/tools/reset', { method: 'post' }), await form('/tools/shutdown', { method: 'post' }),
        await form('/tools/execute-script', { method: 'post', enctype: 'text/plain' }, { 'print(1)--': '' }),
        await form('/tools/create-archive', { method: 'post', enctype: 'text/plain' }, { '{"Asynchronous":true,"Resources":[]}': '' }),
        await form('/instances', { method: 'post', enctype: 'multipart/form-data' }, { file: 'x' }),
        await form(`/patients/${kept.patient}/anonymize`, { method: 'post', enctype: 'text/plain' }, { '{"x":"': '"}' }),
        await form(`${api}/sessions`, { method: 'post', enctype: 'text/plain' }, { '{"x":"': '"}' }),
        await form(`${api}/plans`, { method: 'post', enctype: 'text/plain' }, { '{"x":"': '"}' }), 'nothing'),
  'scripts without CORS': async () => (await Promise.all(['/tools/reset', '/tools/shutdown', '/instances', '/tools/find', '/dicom-web/studies',
        `/studies/${kept.study}/anonymize`, `${api}/sessions`, `${api}/plans`].map((p) => ask(p, { method: 'POST', mode: 'no-cors', body: '{}' }))), 'nothing'),
  'a deletion without CORS': async () => (await ask(`/patients/${kept.patient}?_method=delete`, { mode: 'no-cors' }), 'nothing'),
  'scripts': async () => await Promise.all([ask('/tools/reset', { method: 'POST' }), ask(`/patients/${kept.patient}`, { method: 'DELETE' }),
        ask('/modalities/x', { method: 'PUT', body: '{}' }), ask(`${api}/plans`, { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } }),
        ask(`/patients/${kept.patient}`, { headers: { 'X-HTTP-Method-Override': 'DELETE' } }), ask(`/patients/${kept.patient}?_method=delete`)]),
  'beacon': async () => (navigator.sendBeacon(`${base}/tools/reset`, ''), navigator.sendBeacon(`${base}${api}/sessions`, '{}'), await wait(500), 'nothing'),
  'read: pictures': async () => await Promise.all([`/instances/${kept.instance}/preview`, `/wado?requestType=WADO`].map((p) => element('img', { src: base + p }))),
  'read: scripts and styles': async () => await Promise.all([element('script', { src: `${base}/plugins/explorer.js` }), element('script', { src: `${base}/system` }),
        element('script', { src: `${base}/ohif/app-config.js` }), element('link', { rel: 'stylesheet', href: `${base}/app/explorer.css` }, document.head)]),
  'read: prefetching': async () => (element('link', { rel: 'prefetch', href: `${base}/studies/${kept.study}/archive` }, document.head),
        element('link', { rel: 'preload', as: 'image', href: `${base}/instances/${kept.instance}/preview?preload` }, document.head), await wait(700), 'nothing'),
  'read: requests of scripts': async () => await Promise.all(['/patients', '/system', `/instances/${kept.instance}/file`, '/dicom-web/studies', `${api}/plans`, `${api}/info`, '/radiarch/ui/']
        .map((p) => ask(p))),
  'read: with credentials': async () => await Promise.all(['/patients', `${api}/plans`].map((p) => ask(p, { credentials: 'include' }))),
  'read: a socket': async () => new Promise((done) => { const s = new WebSocket(base.replace('http', 'ws') + '/changes'); s.onopen = () => done('loaded'); s.onerror = () => done('refused') }),
  'read: a stream': async () => new Promise((done) => { const s = new EventSource(base + '/changes'); s.onopen = () => done('loaded'); s.onerror = () => { s.close(); done('refused') } }),
  'read: a worker': async () => new Promise((done) => { const w = new Worker(`/worker#${base}/plugins/explorer.js`); w.onerror = () => done('refused'); setTimeout(() => done('nothing'), 1500) }),
  'read: a service worker': async () => navigator.serviceWorker ? navigator.serviceWorker.register(base + '/plugins/explorer.js').then(() => 'loaded', () => 'refused') : 'refused',
  'read: framed pages': async () => (element('iframe', { src: `${base}/app/explorer.html` }), element('iframe', { src: `${base}/radiarch/ui/` }), await wait(1500), 'nothing'),
};

if (!name) return Object.keys(ATTACKS);
return [await ATTACKS[name]().catch(() => 'refused')].flat();
