// Checks texts with Harper, a grammar checker for English that runs offline.
//
// Standard input: a JSON list of {place, line, text}, the texts in Markdown.
// Standard output: a JSON list of {place, line, rule, found, message}.
import { readFileSync } from "node:fs";
import { Dialect, LocalLinter } from "harper.js";
import { binary } from "harper.js/binary";

// Rules that do not fit technical reference prose, or that misread it.
const OFF = [
  // style decisions of this project: sentence-case headings, no serial comma, "data set", digits
  "CompoundNouns", "OxfordComma", "SpelledNumbers", "UseTitleCase",
  // units, keys and common technical words
  "ExpandControl", "ExpandMemoryShorthands", "ExpandMinimum", "ExpandTimeShorthands",
  // names such as JetPack and timm, and cells of tables that are no sentences
  "DisjointPrefixes", "OrthographicConsistency", "SentenceCapitalization", "SplitWords",
  // wrong more often than right here: "what it needs", "SHA-256", "over all images", formulas
  "AWhile", "AnA", "CommaFixes", "EllipsisLength", "FindOut", "LetsConfusion", "MergeWords", "MissingTo", "Overall", "QuantifierNumeralConflict",
  "OneOfTheSingular", "PronounInflectionBe", "SingleBe", "Spaces", "ThereIsAgreement", "WrongNegative",
  // formulas and precise definitions need their length
  "LongSentences",
];

const words = readFileSync(new URL("words.txt", import.meta.url), "utf8").split("\n");
const linter = new LocalLinter({ binary, dialect: Dialect.British });
await linter.setup();
const config = await linter.getLintConfig();
const unknown = OFF.filter((rule) => !(rule in config));
if (unknown.length) throw new Error(`Harper has no rule ${unknown.join(", ")}`);
for (const rule of OFF) config[rule] = false;
await linter.setLintConfig(config);
await linter.importWords(words.map((word) => word.trim()).filter((word) => word && !word.startsWith("#")));

const findings = [];
for (const { place, line, text } of JSON.parse(readFileSync(0, "utf8"))) {
  const byRule = await linter.organizedLints(text, { language: "markdown" });
  for (const [rule, lints] of Object.entries(byRule)) {
    for (const lint of lints) {
      const above = [...text].slice(0, lint.span().start).join("").split("\n").length - 1;
      findings.push({
        place,
        line: line + above,
        rule,
        found: lint.get_problem_text(),
        message: lint.message(),
      });
    }
  }
}
process.stdout.write(JSON.stringify(findings));
