// Texts of the console, in English and Simplified Chinese.

import { CHINESE } from "/console/texts/chinese.js";
import { ENGLISH } from "/console/texts/english.js";

const TABLES = { en: ENGLISH, "zh-CN": CHINESE };

/** The language chosen here, else the browser's. */
export function language() {
  const kept = localStorage.getItem("tieline.language");
  if (kept in TABLES) return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
}

export const setLanguage = (name) => localStorage.setItem("tieline.language", name);

/** The sentence called `key`, with `{0}`, `{1}` … replaced. */
export function text(key, ...parameters) {
  const sentence = TABLES[language()][key] ?? ENGLISH[key] ?? key;
  return sentence.replace(/\{(\d)\}/g, (_, at) => String(parameters[Number(at)] ?? ""));
}
