// A form of a JSON Schema (2020-12): one field for each thing that the schema names, and a field of
// JSON where it names none. What is left empty and may be is left out, so that the device's own
// default holds. Values are written as JSON here, not as JavaScript's numbers, which round.

import { fill, h, unique } from "./dom";
import type { Schema } from "./wire";

const DEPTH_MAX = 6; // of forms in forms; what is deeper is JSON
const ROWS_MAX = 1000; // of a list
const FIELDS_MAX = 500; // that a schema makes at once; what follows is JSON

/** A field, or several. */
export interface Field {
  readonly element: HTMLElement;
  /** What it holds, as JSON; undefined where it is left out. */
  text(): string | undefined;
  /** Shows an error at the field that a path leads to; false where there is none. */
  mark(path: (string | number)[], message: string): boolean;
  /** Takes all errors away. */
  clear(): void;
}

interface Place {
  label: string;
  required: boolean;
  depth: number;
  root: Schema;
  budget: { left: number };
}

export function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Follows references; their number is bounded, since they may go in circles. */
export function resolved(schema: Schema, root: Schema): Schema {
  let found = schema;
  for (let steps = 0; steps < 10; steps += 1) {
    const ref = found["$ref"];
    if (typeof ref !== "string" || !ref.startsWith("#/")) return found;
    let at: unknown = root;
    for (const part of ref.slice(2).split("/")) {
      const name = decoded(part).replaceAll("~1", "/").replaceAll("~0", "~");
      at = isSchema(at) && Object.hasOwn(at, name) ? at[name] : undefined;
    }
    if (!isSchema(at)) return {};
    found = { ...at, ...withoutRef(found) };
  }
  return {};
}

/** A part of a reference; as it stands where it is no part of an address. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function withoutRef(schema: Schema): Schema {
  const { $ref: _, ...rest } = schema;
  return rest;
}

/** The form of a command's arguments. */
export function makeForm(schema: Schema | null | undefined): Field {
  const root = isSchema(schema) ? schema : {};
  const whole = resolved(root, root);
  const place: Place = { label: "", required: true, depth: 0, root, budget: { left: FIELDS_MAX } };
  const properties = whole["properties"];
  if (isSchema(properties) && Object.keys(properties).length > 0) {
    return group(whole, place, true);
  }
  return makeArea("{}");
}

function make(given: Schema, place: Place): Field {
  const schema = resolved(given, place.root);
  place.budget.left -= 1;
  if (place.depth > DEPTH_MAX || place.budget.left < 0) return raw(schema, place);
  if (Object.hasOwn(schema, "const")) return choice(schema, place, [schema["const"]]);
  const values = schema["enum"];
  if (Array.isArray(values)) return choice(schema, place, values);
  const union = schema["anyOf"] ?? schema["oneOf"];
  if (Array.isArray(union)) return either(schema, union.filter(isSchema), place);
  switch (schema["type"]) {
    case "boolean":
      return choice(schema, place, [true, false]);
    case "integer":
    case "number":
      return numeric(schema, place);
    case "string":
      return textual(schema, place);
    case "array":
      return list(schema, place);
    case "object":
      if (isSchema(schema["properties"])) return group(schema, place, false);
      return isSchema(schema["additionalProperties"]) ? mapping(schema, place) : raw(schema, place);
    default:
      return raw(schema, place);
  }
}

// -- one value

function hint(schema: Schema, place: Place, saysDefault = true): string {
  const said: string[] = [];
  const { minimum, maximum, exclusiveMinimum, exclusiveMaximum } = schema;
  const low = minimum ?? exclusiveMinimum;
  const high = maximum ?? exclusiveMaximum;
  const from = exclusiveMinimum !== undefined && minimum === undefined ? "above" : "from";
  const to = exclusiveMaximum !== undefined && maximum === undefined ? "below" : "to";
  if (low !== undefined && high !== undefined) said.push(`${from} ${show(low)} ${to} ${show(high)}`);
  else if (low !== undefined) said.push(from === "from" ? `at least ${show(low)}` : `above ${show(low)}`);
  else if (high !== undefined) said.push(to === "to" ? `at most ${show(high)}` : `below ${show(high)}`);
  if (schema["multipleOf"] !== undefined) said.push(`a multiple of ${show(schema["multipleOf"])}`);
  const { minLength, maxLength, minItems, maxItems } = schema;
  if (minLength !== undefined || maxLength !== undefined) said.push(`${span(minLength, maxLength)} characters`);
  if (minItems !== undefined || maxItems !== undefined) said.push(`${span(minItems, maxItems)} entries`);
  if (typeof schema["format"] === "string") said.push(schema["format"]);
  if (typeof schema["pattern"] === "string") said.push(`like ${schema["pattern"]}`);
  if (typeof schema["description"] === "string") said.push(schema["description"]);
  if (!place.required && saysDefault) {
    const { default: value } = schema;
    said.push(value === undefined || value === null ? "optional" : `default ${show(value)}`);
  }
  return said.join(" · ");
}

function span(low: unknown, high: unknown): string {
  if (low === high) return show(low);
  if (low === undefined || low === 0) return `at most ${show(high)}`;
  return high === undefined ? `at least ${show(low)}` : `${show(low)} to ${show(high)}`;
}

function show(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

type Control = HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement;

/** A control with its label, its hint and its error. */
function labelled(
  control: Control,
  schema: Schema,
  place: Place,
  text: () => string | undefined,
  kind: string,
): Field {
  const id = unique("field");
  const error = h("p", { class: "error", id: `${id}-error` });
  const words = hint(schema, place, kind !== "choice");
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-error`);
  control.addEventListener("input", () => clear());
  function clear(): void {
    error.textContent = "";
    control.removeAttribute("aria-invalid");
  }
  const label = h("label", { for: id }, place.label, place.required && required());
  const element = h(
    "div",
    { class: `field ${kind}` },
    label,
    control,
    h("p", { class: "hint", id: `${id}-hint` }, words),
    error,
  );
  return {
    element,
    text,
    clear,
    mark(_, message) {
      error.textContent = message;
      control.setAttribute("aria-invalid", "true");
      return true;
    },
  };
}

function required(): HTMLElement {
  return h("span", { class: "required", title: "required", "aria-hidden": "true" }, "*");
}

function choice(schema: Schema, place: Place, values: unknown[]): Field {
  const select = h("select", { required: place.required });
  if (!place.required) {
    const value = schema["default"];
    const words = value === undefined || value === null ? "(not given)" : `${show(value)} (default)`;
    select.append(h("option", { value: "" }, words));
  }
  values.forEach((value, index) => {
    select.append(h("option", { value: index }, show(value)));
  });
  const text = () => (select.value === "" ? undefined : JSON.stringify(values[Number(select.value)]));
  return labelled(select, schema, place, text, "choice");
}

function numeric(schema: Schema, place: Place): Field {
  const isInteger = schema["type"] === "integer";
  const multiple = schema["multipleOf"];
  const input = h("input", {
    type: "number",
    required: place.required,
    min: schema["minimum"],
    max: schema["maximum"],
    step: typeof multiple === "number" && schema["minimum"] === undefined ? multiple : isInteger ? 1 : "any",
    placeholder: schema["default"] === undefined ? undefined : show(schema["default"]),
    autocomplete: "off",
  });
  input.addEventListener("input", () => {
    const value = Number(input.value);
    const { exclusiveMinimum: above, exclusiveMaximum: below } = schema;
    let wrong = "";
    if (input.value !== "") {
      if (typeof above === "number" && value <= above) wrong = `must be above ${above}`;
      else if (typeof below === "number" && value >= below) wrong = `must be below ${below}`;
      else if (isInteger && !/^-?\d+$/.test(input.value)) wrong = "must be a whole number";
    }
    input.setCustomValidity(wrong);
  });
  const text = () => {
    const typed = input.value;
    if (typed === "") return undefined;
    return isJson(typed) ? typed : JSON.stringify(Number(typed));
  };
  return labelled(input, schema, place, text, "number");
}

function textual(schema: Schema, place: Place): Field {
  const most = schema["maxLength"];
  const isLong = typeof most === "number" && most > 200;
  const props = {
    minlength: schema["minLength"],
    maxlength: most,
    placeholder: typeof schema["default"] === "string" ? schema["default"] : undefined,
    required: place.required && Number(schema["minLength"] ?? 0) > 0,
    autocomplete: "off",
    spellcheck: "false",
  };
  const control = isLong ? h("textarea", { ...props, rows: 3 }) : h("input", { ...props, type: "text" });
  // A pattern is shown, and judged by the device: one that was made for it could hang this page.
  const text = () =>
    control.value === "" && !place.required ? undefined : JSON.stringify(control.value);
  return labelled(control, schema, place, text, "text");
}

export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** A field of JSON for all arguments. */
export function makeArea(begun: string): Field {
  const place = { label: "Arguments, a JSON object", required: true, depth: 0, root: {}, budget: { left: 0 } };
  return raw({}, place, begun);
}

/** A field of JSON: for what has no form. */
function raw(schema: Schema, place: Place, begun = ""): Field {
  const area = h("textarea", {
    class: "json",
    rows: 3,
    required: place.required,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: schema["default"] === undefined ? "JSON" : JSON.stringify(schema["default"]),
  });
  area.value = begun;
  area.addEventListener("input", () => {
    const wrong = area.value.trim() !== "" && !isJson(area.value);
    area.setCustomValidity(wrong ? "must be JSON" : "");
  });
  const text = () => (area.value.trim() === "" ? undefined : area.value.trim());
  return labelled(area, schema, place, text, "raw");
}

// -- several

function inner(place: Place, label: string, isRequired: boolean): Place {
  return { ...place, label, required: isRequired, depth: place.depth + 1 };
}

function group(schema: Schema, place: Place, isWhole: boolean): Field {
  const properties = schema["properties"] as Schema;
  const needed = new Set(Array.isArray(schema["required"]) ? schema["required"] : []);
  const fields = new Map<string, Field>();
  for (const [name, one] of Object.entries(properties)) {
    fields.set(name, make(isSchema(one) ? one : {}, inner(place, name, needed.has(name))));
  }
  const inside = h("div", { class: "fields" }, ...[...fields.values()].map((one) => one.element));
  const optional = !isWhole && !place.required;
  const frame = framed(schema, place, inside, optional, isWhole);
  return {
    element: frame.element,
    text() {
      if (optional && !frame.isGiven()) return undefined;
      const parts: string[] = [];
      for (const [name, field] of fields) {
        const text = field.text();
        if (text !== undefined) parts.push(`${JSON.stringify(name)}:${text}`);
      }
      return `{${parts.join(",")}}`;
    },
    mark(path, message) {
      const [name, ...rest] = path;
      const field = typeof name === "string" ? fields.get(name) : undefined;
      return field ? field.mark(rest, message) : frame.mark(message);
    },
    clear() {
      frame.clear();
      for (const field of fields.values()) field.clear();
    },
  };
}

/** The frame around several fields: with a box to tick where they may be left out. */
function framed(schema: Schema, place: Place, inside: HTMLElement, optional: boolean, isBare = false) {
  const error = h("p", { class: "error" });
  const mark = (message: string): boolean => {
    error.textContent = message;
    return true;
  };
  const clear = (): void => {
    error.textContent = "";
  };
  if (isBare) {
    return { element: h("div", { class: "whole" }, inside, error), isGiven: () => true, mark, clear };
  }
  const body = h("fieldset", { disabled: optional, class: "inner", "aria-label": place.label }, inside);
  const box = h("input", { type: "checkbox", on: { change: () => {
    body.disabled = !box.checked;
    body.hidden = !box.checked;
  } } });
  body.hidden = optional;
  const title = optional
    ? h("label", { class: "title" }, box, place.label)
    : h("p", { class: "title" }, place.label, place.required && required());
  const element = h(
    "div",
    { class: "group", role: "group", "aria-label": place.label },
    title,
    h("p", { class: "hint" }, hint(schema, place)),
    body,
    error,
  );
  return { element, isGiven: () => box.checked, mark, clear };
}

/** Rows that are added and removed. */
function rows<T extends { field: Field }>(
  schema: Schema,
  place: Place,
  makeRow: (index: number) => { row: T; before?: HTMLElement },
  write: (rows: T[]) => string | undefined,
  least: number,
  most: number,
  find: (rows: T[], key: string | number) => T | undefined,
): Field {
  const held: { row: T; element: HTMLElement }[] = [];
  const inside = h("div", { class: "rows" });
  const more = h("button", { type: "button", class: "small", on: { click: () => add(true) } }, "Add");
  more.setAttribute("aria-label", `Add to ${place.label}`);
  const frame = framed(schema, place, h("div", {}, inside, more), false);
  function add(byHand: boolean): void {
    const { row, before } = makeRow(held.length);
    const remove = h("button", { type: "button", class: "small", "aria-label": `Remove an entry of ${place.label}`, on: { click: () => {
      const at = held.findIndex((one) => one.row === row);
      held.splice(at, 1);
      element.remove();
      more.disabled = false;
      more.focus();
    } } }, "Remove");
    const element = h("div", { class: "row" }, before, row.field.element, remove);
    held.push({ row, element });
    inside.append(element);
    more.disabled = held.length >= most;
    if (byHand) element.querySelector<HTMLElement>("input, select, textarea")?.focus();
  }
  for (let index = 0; index < Math.min(least, 20); index += 1) add(false);
  return {
    element: frame.element,
    text: () => write(held.map((one) => one.row)),
    mark(path, message) {
      const [key, ...rest] = path;
      const row = key === undefined ? undefined : find(held.map((one) => one.row), key);
      return row ? row.field.mark(rest, message) : frame.mark(message);
    },
    clear() {
      frame.clear();
      for (const { row } of held) row.field.clear();
    },
  };
}

function count(value: unknown, otherwise: number): number {
  return typeof value === "number" && value >= 0 ? value : otherwise;
}

function list(schema: Schema, place: Place): Field {
  const fixed = Array.isArray(schema["prefixItems"]) ? schema["prefixItems"].filter(isSchema) : [];
  const items = isSchema(schema["items"]) ? schema["items"] : null;
  if (fixed.length > 0) return items ? raw(schema, place) : tuple(schema, fixed, place);
  if (!items) return raw(schema, place);
  return rows(
    schema,
    place,
    (index) => ({ row: { field: make(items, inner(place, `${place.label} ${index + 1}`, true)) } }),
    (held) =>
      held.length === 0 && !place.required
        ? undefined
        : `[${held.map((row) => row.field.text() ?? "null").join(",")}]`,
    place.required ? count(schema["minItems"], 0) : 0,
    Math.min(ROWS_MAX, count(schema["maxItems"], ROWS_MAX)),
    (held, key) => (typeof key === "number" ? held[key] : undefined),
  );
}

function tuple(schema: Schema, items: Schema[], place: Place): Field {
  const fields = items.map((item, index) =>
    make(item, inner(place, `${place.label} ${index + 1}`, true)),
  );
  const inside = h("div", { class: "fields" }, ...fields.map((one) => one.element));
  const frame = framed(schema, place, inside, !place.required);
  return {
    element: frame.element,
    text() {
      if (!place.required && !frame.isGiven()) return undefined;
      return `[${fields.map((field) => field.text() ?? "null").join(",")}]`;
    },
    mark(path, message) {
      const [index, ...rest] = path;
      const field = typeof index === "number" ? fields[index] : undefined;
      return field ? field.mark(rest, message) : frame.mark(message);
    },
    clear() {
      frame.clear();
      for (const field of fields) field.clear();
    },
  };
}

function mapping(schema: Schema, place: Place): Field {
  const values = schema["additionalProperties"] as Schema;
  return rows(
    schema,
    place,
    (index) => {
      const key = h("input", { type: "text", class: "key", required: true, placeholder: "key", "aria-label": `Key ${index + 1} of ${place.label}` });
      return { row: { key, field: make(values, inner(place, "value", true)) }, before: key };
    },
    (held) =>
      held.length === 0 && !place.required
        ? undefined
        : `{${held.map((row) => `${JSON.stringify(row.key.value)}:${row.field.text() ?? "null"}`).join(",")}}`,
    0,
    ROWS_MAX,
    (held, key) => held.find((row) => row.key.value === key),
  );
}

function either(schema: Schema, union: Schema[], place: Place): Field {
  const variants = union.map((one) => resolved(one, place.root));
  const values = variants.filter((one) => one["type"] !== "null");
  const [only] = values;
  // Null is what an optional value is without one: left out, its default holds.
  if (only && values.length === 1 && !place.required) {
    return make({ ...only, ...own(schema) }, place);
  }
  const label = (one: Schema): string => String(one["title"] ?? one["type"] ?? "JSON");
  const select = h("select", { "aria-label": `Kind of ${place.label}` });
  if (!place.required) select.append(h("option", { value: "" }, "(not given)"));
  variants.forEach((one, index) => {
    select.append(h("option", { value: index }, label(one)));
  });
  const inside = h("div");
  let field: Field | null = null;
  const change = (): void => {
    const one = select.value === "" ? undefined : variants[Number(select.value)];
    field = one && one["type"] !== "null" ? make(one, inner(place, label(one), true)) : null;
    fill(inside, field?.element);
  };
  select.addEventListener("change", change);
  change();
  const frame = framed(schema, place, h("div", { class: "either" }, select, inside), false);
  return {
    element: frame.element,
    text: () => (select.value === "" ? undefined : field ? field.text() : "null"),
    mark: (path, message) => field?.mark(path, message) ?? frame.mark(message),
    clear() {
      frame.clear();
      field?.clear();
    },
  };
}

function own(schema: Schema): Schema {
  const { anyOf: _a, oneOf: _o, ...rest } = schema;
  return rest;
}

/** The parts of a path such as `data.via[1].north`, without its first. */
export function partsOf(path: string): (string | number)[] {
  const parts: (string | number)[] = [];
  for (const [, name, index] of path.matchAll(/(?:^|\.)([^.[\]]+)|\[(\d+)\]/g)) {
    parts.push(index === undefined ? (name ?? "") : Number(index));
  }
  return parts.slice(1);
}
