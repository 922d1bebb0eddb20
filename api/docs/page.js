"use strict";

// Everything is put in as text: descriptions are ours, but a page with keys in reach takes no chances.
function make(name, text, ...inside) {
  const element = document.createElement(name);
  if (text) element.textContent = text;
  element.append(...inside);
  return element;
}

function resolve(spec, schema) {
  if (!schema || !schema.$ref) return schema || {};
  return schema.$ref.slice(2).split("/").reduce((node, part) => node[part], spec);
}

function kind(spec, written) {
  const schema = resolve(spec, written);
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.map((one) => kind(spec, one)).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return "array of " + kind(spec, schema.items);
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "any";
}

function bounds(schema) {
  const words = {
    minLength: "at least % characters", maxLength: "at most % characters", minimum: "from %", maximum: "to %",
    minItems: "at least % items", maxItems: "at most % items", default: "default %", pattern: "matches %",
  };
  return Object.entries(words).filter(([key]) => schema[key] !== undefined)
    .map(([key, text]) => text.replace("%", () => String(schema[key]))).join(", ");
}

function table(rows) {
  const body = make("tbody");
  for (const [name, type, about, limits] of rows) {
    const last = make("td", about);
    if (limits) last.append(" ", make("span", limits.length > 160 ? limits.slice(0, 160) + "…" : limits));
    if (limits) last.lastChild.className = "quiet";
    body.append(make("tr", "", make("td", "", make("code", name)), make("td", type), last));
  }
  return make("table", "", body);
}

function fields(spec, written) {
  const schema = resolve(spec, written);
  const needed = schema.required || [];
  return table(Object.entries(schema.properties || {}).map(([name, one]) => {
    const field = resolve(spec, one);
    return [name + (needed.includes(name) ? " *" : ""), kind(spec, one), field.description || "", bounds(field)];
  }));
}

function call(spec, path, method, what) {
  const box = make("details", "", make("summary", "", make("b", method.toUpperCase()), make("code", path), " ",
    make("span", what.summary || "")));
  if (what.description) box.append(make("p", what.description));
  if (what.parameters) {
    box.append(make("h4", "Parameters"), table(what.parameters.map((one) => [
      one.name + (one.required ? " *" : ""), `${kind(spec, one.schema)}, in ${one.in}`, one.description || "",
      bounds(resolve(spec, one.schema))])));
  }
  for (const [type, content] of Object.entries((what.requestBody || {}).content || {})) {
    box.append(make("h4", type), fields(spec, content.schema));
  }
  for (const [status, answer] of Object.entries(what.responses || {})) {
    box.append(make("h4", `${status} ${answer.description || ""}`));
    for (const content of Object.values(answer.content || {})) box.append(fields(spec, content.schema));
  }
  return box;
}

async function show() {
  const spec = await (await fetch("openapi.json")).json();
  document.title = `${spec.info.title} API`;
  document.getElementById("title").textContent = `${spec.info.title} ${spec.info.version}`;
  const groups = new Map();
  for (const [path, methods] of Object.entries(spec.paths)) {
    for (const [method, what] of Object.entries(methods)) {
      const tag = (what.tags || ["Other"])[0];
      if (!groups.has(tag)) groups.set(tag, make("section", "", make("h2", tag)));
      groups.get(tag).append(call(spec, path, method, what));
    }
  }
  document.getElementById("calls").replaceChildren(...groups.values());
}

show();
