// Search in pages that are opened as files: a browser starts no worker from a file, so the worker's script runs in a hidden frame.
// Only what Material's search uses of a worker is here: messages there and back, and `importScripts`, which waits here.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inside = frame.contentWindow;
      const load = (address) => new Promise((resolve, reject) => {
        const script = inside.document.createElement("script");
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${address} can't be loaded`));
        script.src = address;
        inside.document.body.append(script);
      });
      inside.importScripts = (...addresses) => addresses.reduce((before, address) => before.then(() => load(address)), Promise.resolve());
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.tell = (data) => inside.dispatchEvent(new inside.MessageEvent("message", { data: structuredClone(data) }));
      this.frame = frame;
      this.ready = load(url);
    }

    postMessage(data) {
      this.ready.then(() => this.tell(data));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
