// The typed HTTP client of Mainstay: no dependencies, only fetch, so that an application may copy it as it stands.
// It promises that a submission is never made twice by a retry (every POST carries an idempotency key), that a stream
// continues after a broken connection where it stopped, and that an AbortSignal ends every call at once. It must never
// import anything but types and its own folder.
export {};
