// The Idempotency-Key of a request: asked again, after a lost answer, it makes nothing twice.

/** crypto.randomUUID is missing where Orthanc is reached over plain HTTP. */
export const randomKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
