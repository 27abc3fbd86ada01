// Sends the neighbours to TOPCAT, Aladin, SPLAT-VO by SAMP's Web Profile (SAMP 1.3, 5): the hub asks its user first.
"use strict";

(() => {
  const HUB = "http://localhost:21012/";
  const PATIENCE = "60"; // seconds that a program may take to load what it is sent
  const place = document.getElementById("samp");
  if (!place) return;
  const offer = JSON.parse(document.getElementById("samp-data").textContent);
  const status = place.querySelector("[role=status]");
  let key = null; // of our registration, once somebody agreed to it

  // XML-RPC has strings, structs and arrays here; nothing else is sent or understood.
  const write = (xml, parent, value) => {
    const node = parent.appendChild(xml.createElement("value"));
    if (typeof value === "string") { node.appendChild(xml.createElement("string")).textContent = value; return; }
    const struct = node.appendChild(xml.createElement("struct"));
    Object.entries(value).forEach(([name, inner]) => {
      const member = struct.appendChild(xml.createElement("member"));
      member.appendChild(xml.createElement("name")).textContent = name;
      write(xml, member, inner);
    });
  };

  const read = (value) => {
    const inner = value.firstElementChild;
    if (inner === null) return value.textContent;
    if (inner.tagName === "array") return [...inner.querySelectorAll(":scope > data > value")].map(read);
    if (inner.tagName !== "struct") return inner.textContent;
    const members = [...inner.children].map((member) => [
      member.querySelector(":scope > name").textContent, read(member.querySelector(":scope > value")),
    ]);
    return Object.fromEntries(members);
  };

  const ask = async (method, ...values) => {
    const xml = document.implementation.createDocument(null, "methodCall");
    xml.documentElement.appendChild(xml.createElement("methodName")).textContent = `samp.webhub.${method}`;
    const params = xml.documentElement.appendChild(xml.createElement("params"));
    values.forEach((value) => write(xml, params.appendChild(xml.createElement("param")), value));
    const body = new XMLSerializer().serializeToString(xml);
    const answer = await fetch(HUB, { method: "POST", body, headers: { "Content-Type": "text/xml" }, keepalive: method === "unregister" });
    const document_ = new DOMParser().parseFromString(await answer.text(), "text/xml");
    const fault = document_.querySelector("methodResponse > fault > value");
    if (fault) throw new Refused(read(fault).faultString);
    const found = document_.querySelector("methodResponse > params > param > value");
    return found ? read(found) : "";
  };

  class Refused extends Error {}

  const join = async () => {
    if (key !== null) return;
    status.textContent = "Waiting for your consent: the hub asks in a window of its own …";
    key = (await ask("register", { "samp.name": offer.name }))["samp.private-key"];
    await ask("declareMetadata", key, {
      "samp.name": offer.name, "samp.description.text": offer.description,
      "samp.documentation.url": absolute(offer.documentation), "samp.icon.url": absolute(offer.icon),
    });
  };

  const leave = () => {
    if (key !== null) ask("unregister", key).catch(() => {}); // the hub may be gone
    key = null;
  };

  // Desktop programs fetch by themselves, from where this page came.
  const absolute = (path) => new URL(path, window.location.href).href;

  const message = (mtype, params) => ({ "samp.mtype": mtype, "samp.params": params });

  const messages = {
    table: () => {
      const url = absolute(offer.table.url); // TOPCAT refuses an id that it has seen: each sending has its own
      return [message("table.load.votable", { url, "table-id": `${url}#${Date.now()}`, name: offer.table.name })];
    },
    spectra: () => offer.spectra.map((one) => {
      const url = absolute(one.url);
      const meta = { ...one.meta, "Access.Reference": url };
      return message("spectrum.load.ssa-generic", { url, "spectrum-id": one.did, name: one.name, meta });
    }),
  };

  const sendTo = async (client, all) => {
    const name = (await ask("getMetadata", key, client))["samp.name"] || client;
    for (const one of all) {
      const reply = await ask("callAndWait", key, client, one, PATIENCE);
      if (reply["samp.status"] !== "samp.ok") return `${name} did not take it: ${(reply["samp.error"] || {})["samp.errortxt"] || "no reason given"}`;
    }
    return `${name} has loaded it`;
  };

  const send = async (kind) => {
    const all = messages[kind]();
    await join();
    const clients = Object.keys(await ask("getSubscribedClients", key, all[0]["samp.mtype"]));
    if (!clients.length) {
      status.textContent = kind === "table" ? "No program on the hub takes tables. Start TOPCAT or Aladin." : "No program on the hub takes spectra. Start SPLAT-VO.";
      return;
    }
    status.textContent = "Sending …";
    status.textContent = `${(await Promise.all(clients.map((client) => sendTo(client, all)))).join(". ")}.`;
  };

  const explain = (error) => {
    if (error instanceof Refused) return `The hub said no: ${error.message}`;
    key = null;
    return "No SAMP hub answers on this machine. Start TOPCAT, Aladin or SPLAT-VO (they bring one), then try again.";
  };

  place.querySelectorAll("button[data-send]").forEach((button) => button.addEventListener("click", async () => {
    button.disabled = true;
    try { await send(button.dataset.send); } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error; // TypeError: fetch found nobody
      status.textContent = explain(error);
    } finally { button.disabled = false; }
  }));
  window.addEventListener("pagehide", leave);
  place.hidden = false;
})();
