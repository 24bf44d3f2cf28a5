// <live-stream src="/runs/7/stream" after="12">: swaps in the HTML fragments that a stream of server-sent events brings.
// Each message's data is HTML. Every top-level element with an id replaces the one that the page has; with
// data-append="id" it is put at the end of that element, with data-sorted="id" at its place there, unless one with its own
// id is there already: so nothing is lost or doubled, however often the connection breaks. "after" is the id of the last
// event that the page was made with.

const slowest = 15000;

class LiveStream extends HTMLElement {
  #source = null;
  #wait = 500;
  #timer = 0;
  #last = "";
  #isOver = false;

  connectedCallback() {
    this.#last = this.getAttribute("after") ?? "";
    this.#open();
    addEventListener("online", this.#again);
    addEventListener("pagehide", this.#close);
    addEventListener("pageshow", this.#again);
    document.addEventListener("visibilitychange", this.#again);
  }

  disconnectedCallback() {
    this.#close();
    removeEventListener("online", this.#again);
    removeEventListener("pagehide", this.#close);
    removeEventListener("pageshow", this.#again);
    document.removeEventListener("visibilitychange", this.#again);
  }

  #again = () => {
    if (document.hidden || this.#isOver) return;
    if (this.#source === null || this.#source.readyState === EventSource.CLOSED) this.#open();
  };

  #close = () => {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  };

  #open() {
    this.#close();
    const url = new URL(this.getAttribute("src"), location.href);
    if (this.#last) url.searchParams.set("after", this.#last);
    const source = new EventSource(url);
    this.#source = source;
    source.addEventListener("open", () => { this.#wait = 500; this.#say("live"); });
    source.addEventListener("message", (event) => this.#take(event));
    source.addEventListener("end", (event) => { this.#take(event); this.#isOver = true; this.#close(); this.#say("over"); });
    source.addEventListener("error", () => {
      // Not the browser's own retry: it forgets how long the page slept, and gives up after some answers.
      this.#close();
      if (this.#isOver) return;
      this.#say("away");
      this.#timer = setTimeout(() => this.#open(), this.#wait);
      this.#wait = Math.min(this.#wait * 2, slowest);
    });
  }

  #take(event) {
    if (event.lastEventId) this.#last = event.lastEventId;
    if (event.data) swap(event.data);
    this.dispatchEvent(new CustomEvent("live-change", { bubbles: true }));
  }

  #say(state) {
    this.dataset.state = state;
    this.textContent = { live: "Live", away: "Connecting again…", over: "" }[state] ?? "";
    document.documentElement.dataset.live = state;
  }
}

export function swap(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  for (const part of [...template.content.children]) {
    const present = part.id ? document.getElementById(part.id) : null;
    const { append, sorted } = part.dataset;
    delete part.dataset.append;
    delete part.dataset.sorted;
    if (present !== null) replace(present, part);
    else if (append) document.getElementById(append)?.append(part);
    else if (sorted) insert(document.getElementById(sorted), part);
  }
}

// What is the same stays: a stream begins with all that the page shows, and who presses a button just then would have
// pressed one that is gone.
function replace(before, after) {
  if (before.isEqualNode(after)) return;
  const focused = before.contains(document.activeElement) ? document.activeElement : null;
  keepState(before, after);
  before.replaceWith(after);
  if (focused === null) return;
  const id = focused.id || (focused.matches("summary") && focused.parentElement.id);
  const same = id ? document.getElementById(id) : null;
  (focused.id ? same : same?.querySelector("summary"))?.focus({ preventScroll: true });
}

// By data-order, the highest first. What would come behind the last belongs to a page that is not loaded yet, as long as
// there is a link to one.
function insert(list, part) {
  if (list === null) return;
  const order = Number(part.dataset.order);
  const next = [...list.children].find((child) => Number(child.dataset.order) < order);
  if (next !== undefined) list.insertBefore(part, next);
  else if (document.querySelector("[data-more]") === null) list.append(part);
}

// What somebody has opened stays open, and what has the focus keeps it, when its new version comes.
function keepState(before, after) {
  for (const open of before.querySelectorAll("details[id][open]")) {
    const same = after.querySelector(`#${CSS.escape(open.id)}`);
    if (same instanceof HTMLDetailsElement) same.open = true;
  }
  if (before instanceof HTMLDetailsElement && after instanceof HTMLDetailsElement) after.open = before.open;
}

customElements.define("live-stream", LiveStream);
