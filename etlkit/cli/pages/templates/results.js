// Pictures and rows of a page of results. Everything that comes from a row is set as text.
(() => {
  const FIRST = 9; // pictures that are made at once when a filter changes: what fits a window
  const BATCH = 24; // pictures that are added when the end of the list comes near
  const SHOWN = 3; // answers of each model in the list; the large view has all of them
  const MAX_PRINTED = 300;
  const MAX_LABELS = 1000; // in the list of labels to choose from
  const NUM_COLORS = 8;
  const SHORT = 32; // characters of a cell that is only broken between words
  const LONG = 120; // characters of a cell of which the grid shows only the first lines

  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);

  /** Makes an element. Properties are set as properties, so no text becomes markup. */
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

  // Pictures ---------------------------------------------------------------------------------------

  const showPictures = () => {
    const data = read("pictures-data");
    const { models, labels, pictures } = data;
    const form = byId("filters");
    const cards = byId("cards");
    const hidden = new Set(); // models
    let found = [];
    let shown = 0;

    pictures.forEach((picture, row) => {
      picture.row = row;
      picture.best = Math.max(-1, ...picture.n.map((answer) => answer[2] ?? -1));
      picture.words = picture.a.toLowerCase();
    });
    const lowerLabels = labels.map((label) => label.toLowerCase());

    // Images come in blocks: a block is read when the first of its images is shown.
    const blocks = new Map();
    const blockSize = pictures.length && byId("images-0") ? read("images-0").length : 1;
    const image = (place) => {
      const number = Math.floor(place / blockSize);
      if (!blocks.has(number)) blocks.set(number, read(`images-${number}`));
      return blocks.get(number)[place % blockSize];
    };

    const color = (model) => `model-${model % NUM_COLORS}`;
    const shortName = (address) => address.split(/[?#]/)[0].split("/").filter(Boolean).pop() || address;

    const agreementTag = (picture) => {
      if (picture.g === null) return null;
      const [agreeing, all] = picture.p;
      const [tone, words] =
        picture.g >= 1 ? ["good", "models agree"]
        : all > 1 && agreeing > 0 ? ["warn", `${agreeing} of ${all} pairs agree`]
        : picture.g > 0 && all <= 1 ? ["warn", `agreement ${picture.g.toFixed(2)}`]
        : ["bad", "models disagree"];
      return make("span", { className: `tag ${tone}`, textContent: words });
    };

    const makeBox = ([model, label, , box]) => {
      const element = make("span", { className: `box ${color(model)}` });
      const [left, top, right, bottom] = box.map((number) => number * 100);
      element.style.left = `${left}%`;
      element.style.top = `${top}%`;
      element.style.width = `${right - left}%`;
      element.style.height = `${bottom - top}%`;
      element.append(make("span", { textContent: labels[label] }));
      return element;
    };

    const counts = (answer, wanted) =>
      !hidden.has(answer[0])
      && (answer[2] === null ? wanted.low <= 0 : answer[2] >= wanted.low && answer[2] <= wanted.high);

    const makeFrame = (picture, wanted, boxes) => {
      if (picture.i === undefined) {
        const reason = data.reasons[picture.r];
        return make("span", { className: "missing", textContent: `Not shown: ${reason ?? "no picture"}` });
      }
      const frame = make("span", { className: "frame" });
      frame.style.setProperty("--ratio", picture.w / picture.h);
      frame.append(make("img", { src: image(picture.i), alt: "", decoding: "async" }));
      picture.n.forEach((answer, place) => {
        if (answer[3] === null || !counts(answer, wanted)) return;
        const box = makeBox(answer);
        boxes.set(place, box);
        frame.append(box);
      });
      return frame;
    };

    /** What each model says, side by side; the answers that the filter is not about are pale. */
    const makeAnswers = (picture, wanted, boxes, most, heading) => {
      const element = make("div", { className: "answers" });
      models.forEach((name, model) => {
        if (hidden.has(model)) return;
        const list = make("ol");
        let number = 0;
        picture.n.forEach((answer, place) => {
          if (answer[0] !== model) return;
          number += 1;
          if (number > most) return;
          const [, label, score] = answer;
          const faded = !counts(answer, wanted) || (wanted.label !== null && label !== wanted.label);
          const item = make("li", { className: faded ? "faded" : "" },
            make("span", { className: "answer-label", textContent: labels[label] }));
          if (score !== null) {
            item.append(make("span", { className: "score", textContent: score.toFixed(2) }));
            item.append(make("meter", { min: 0, max: 1, value: score, ariaHidden: "true" }));
          }
          const box = boxes.get(place);
          if (box) {
            item.addEventListener("pointerenter", () => box.classList.add("marked"));
            item.addEventListener("pointerleave", () => box.classList.remove("marked"));
          }
          list.append(item);
        });
        const head = make(heading, {}, make("span", { className: "model-name", textContent: name }));
        const section = make("section", { className: color(model) }, head, list);
        if (!number) list.append(make("li", { className: "faded", textContent: "no answer" }));
        if (number > most) {
          section.append(make("p", { className: "more", textContent: `and ${number - most} more` }));
        }
        element.append(section);
      });
      return element;
    };

    const makeCard = (picture, wanted, place) => {
      const boxes = new Map();
      const name = shortName(picture.a);
      const button = make("button", { type: "button", className: "shot", ariaLabel: `Show ${name} larger` },
        makeFrame(picture, wanted, boxes));
      button.addEventListener("click", () => open(place));
      const card = make("li", { className: "card" }, button,
        make("h3", { textContent: name, title: picture.a }));
      const tag = agreementTag(picture);
      if (tag) card.append(tag);
      card.append(makeAnswers(picture, wanted, boxes, SHOWN, "h4"));
      return card;
    };

    // Filters
    const wantedNow = () => {
      const value = (name) => form.elements[name]?.value ?? "";
      return {
        text: value("text").trim().toLowerCase(),
        label: value("label") === "" ? null : Number(value("label")),
        model: value("model") === "" ? null : Number(value("model")),
        low: Number(value("low") || 0),
        high: Number(value("high") || 1),
        agreement: value("agreement"),
        order: value("order"),
      };
    };
    const matches = (picture, wanted, labelsWithText) => {
      if (wanted.text && !picture.words.includes(wanted.text)
        && !picture.n.some((answer) => labelsWithText.has(answer[1]))) return false;
      if (wanted.agreement === "alone" && picture.g !== null) return false;
      if (wanted.agreement === "agree" && !(picture.g !== null && picture.g >= 1)) return false;
      if (wanted.agreement === "disagree" && !(picture.g !== null && picture.g < 1)) return false;
      const isOpen = wanted.label === null && wanted.model === null && wanted.low <= 0 && wanted.high >= 1;
      return isOpen || picture.n.some((answer) =>
        (wanted.label === null || answer[1] === wanted.label)
        && (wanted.model === null || answer[0] === wanted.model)
        && (answer[2] === null ? wanted.low <= 0 : answer[2] >= wanted.low && answer[2] <= wanted.high));
    };
    const unknownLast = (value) => (value === null ? 2 : value);
    const orders = {
      agreement: (a, b) => unknownLast(a.g) - unknownLast(b.g) || b.best - a.best || a.row - b.row,
      sure: (a, b) => b.best - a.best || a.row - b.row,
      unsure: (a, b) => (a.best < 0) - (b.best < 0) || a.best - b.best || a.row - b.row,
      rows: (a, b) => a.row - b.row,
      address: (a, b) => (a.a < b.a ? -1 : a.a > b.a ? 1 : 0),
    };

    const end = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting) && shown < found.length) add();
    }, { rootMargin: "1200px" });
    const add = (most = BATCH) => {
      const wanted = wantedNow();
      const until = Math.min(found.length, shown + most);
      const batch = document.createDocumentFragment();
      for (; shown < until; shown += 1) batch.append(makeCard(pictures[found[shown]], wanted, shown));
      cards.append(batch);
      byId("more").textContent = shown < found.length
        ? `${plural(found.length - shown, "more picture", "more pictures")} further down` : "";
      // An observer is told of changes only; observed anew, it also says what is in sight already.
      end.unobserve(byId("more"));
      end.observe(byId("more"));
    };
    const update = () => {
      const wanted = wantedNow();
      const labelsWithText = new Set();
      if (wanted.text) lowerLabels.forEach((label, number) => label.includes(wanted.text) && labelsWithText.add(number));
      const chosen = pictures.filter((picture) => matches(picture, wanted, labelsWithText));
      chosen.sort(orders[wanted.order] ?? orders.rows);
      found = chosen.map((picture) => picture.row);
      shown = 0;
      cards.replaceChildren();
      byId("count").textContent = found.length === pictures.length
        ? plural(pictures.length, "picture", "pictures")
        : `${found.length.toLocaleString("en")} of ${plural(pictures.length, "picture", "pictures")}`;
      add(FIRST);
      form.querySelectorAll(".range").forEach((range) => {
        range.querySelector("output").textContent = Number(range.querySelector("input").value).toFixed(2);
      });
    };

    // The large view
    const dialog = byId("large");
    let current = 0;
    const fill = () => {
      const picture = pictures[found[current]];
      const boxes = new Map();
      const wanted = wantedNow();
      byId("large-title").textContent = picture.a;
      const frame = make("div", { className: "shot" }, makeFrame(picture, wanted, boxes));
      const body = byId("large-body");
      body.replaceChildren(frame);
      const tag = agreementTag(picture);
      if (tag) body.append(tag);
      if (/^https?:\/\//i.test(picture.a)) {
        const link = make("a", { href: picture.a, rel: "noopener noreferrer", target: "_blank", textContent: "Open the address" });
        body.append(make("p", {}, link));
      }
      body.append(makeAnswers(picture, wanted, boxes, Infinity, "h3"));
      const [previous, next] = dialog.querySelectorAll(".large-buttons button");
      previous.disabled = current === 0;
      next.disabled = current === found.length - 1;
    };
    const open = (place) => {
      current = place;
      fill();
      dialog.showModal();
    };
    const move = (step) => {
      const place = current + step;
      if (place < 0 || place >= found.length) return;
      current = place;
      fill();
    };
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.value === "close") dialog.close();
      else if (event.target.tagName === "BUTTON" && event.target.value) move(Number(event.target.value));
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") move(-1);
      if (event.key === "ArrowRight") move(1);
    });

    // What there is to choose from
    const uses = new Array(labels.length).fill(0);
    pictures.forEach((picture) => new Set(picture.n.map((answer) => answer[1])).forEach((label) => { uses[label] += 1; }));
    if (form.elements.label) {
      const byUse = labels.map((_, number) => number).sort((a, b) => uses[b] - uses[a] || (labels[a] < labels[b] ? -1 : 1));
      form.elements.label.append(...byUse.slice(0, MAX_LABELS).map((number) =>
        make("option", { value: number, textContent: `${labels[number].slice(0, 60)} (${uses[number].toLocaleString("en")})` })));
    }
    if (form.elements.model) {
      form.elements.model.append(...models.map((name, number) => make("option", { value: number, textContent: name })));
    }
    byId("models")?.append(...models.map((name, model) => {
      const box = make("input", { type: "checkbox", checked: true });
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(model);
        else hidden.add(model);
        update();
      });
      return make("label", { className: color(model) }, box, make("span", { className: "model-name", textContent: name }));
    }));

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update));
    addEventListener("beforeprint", () => add(MAX_PRINTED - shown));
    update();
  };

  // Rows -------------------------------------------------------------------------------------------

  const showRows = () => {
    const { numeric, rows } = read("grid-data");
    const escape = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
    const display = (value) => {
      if (value === null) return '<span class="null">NULL</span>';
      if (typeof value === "number" && !Number.isInteger(value)) return escape(Number(value.toPrecision(6)));
      const text = escape(value);
      if (text.length > LONG) return `<div class="long" tabindex="0">${text}</div>`;
      return text.length > SHORT ? `<div class="middle">${text}</div>` : text;
    };
    const render = (value, purpose) => (purpose === "display" ? display(value) : value ?? "");
    const columns = numeric.map((isNumber) => ({
      render, type: isNumber ? "num" : "string", className: isNumber ? "number" : "",
    }));
    const asItIs = { orthogonal: "export", stripHtml: false, decodeEntities: false };
    new DataTable("#grid", {
      data: rows,
      columns,
      order: [],
      pageLength: 25,
      lengthMenu: [10, 25, 100, 500],
      autoWidth: false,
      layout: {
        topStart: { buttons: [{ extend: "colvis", text: "Columns" }, { extend: "csv", text: "Save as CSV", exportOptions: asItIs }] },
        topEnd: "search",
        bottomStart: "info",
        bottomEnd: ["pageLength", "paging"],
      },
    });
  };

  if (byId("pictures-data")) showPictures();
  performance.mark("pictures");
  // The grid is below: it is made once the pictures are painted.
  requestAnimationFrame(() => setTimeout(() => {
    showRows();
    performance.mark("rows");
  }));
})();
