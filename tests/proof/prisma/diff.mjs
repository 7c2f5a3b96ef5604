// Prisma's own answer to "what would a migration do here?": the engine of its release as WebAssembly, no binary.
// DATABASE_URL is compared with schema.prisma; prints {"empty": …, "script": …}.
import fs from "node:fs";
import { createRequire } from "node:module";
import { bindMigrationAwareSqlAdapterFactory } from "@prisma/driver-adapter-utils";
import { PrismaPg } from "@prisma/adapter-pg";

const require = createRequire(import.meta.url);
const Result = require("pg/lib/result.js");
const addFields = Result.prototype.addFields;
// The adapter does not know the type "char" of the system catalogs (18): as text (25) it reads the same.
Result.prototype.addFields = function (fields) {
  for (const field of fields) if (field.dataTypeID === 18) field.dataTypeID = 25;
  return addFields.call(this, fields);
};

const glue = await import("@prisma/schema-engine-wasm/schema_engine_bg");
const bytes = fs.readFileSync("node_modules/@prisma/schema-engine-wasm/schema_engine_bg.wasm");
const { instance } = await WebAssembly.instantiate(bytes, { "./schema_engine_bg.js": glue });
glue.__wbg_set_wasm(instance.exports);
instance.exports.__wbindgen_start();
globalThis.PRISMA_WASM_PANIC_REGISTRY = { set_message: (text) => console.error(text) };

const files = [{ path: "schema.prisma", content: fs.readFileSync("schema.prisma", "utf8") }];
const factory = bindMigrationAwareSqlAdapterFactory(new PrismaPg({ connectionString: process.env.DATABASE_URL }));
const engine = await glue.SchemaEngine.new({ datamodels: files.map((one) => [one.path, one.content]) }, () => {}, factory);
const answer = await engine.diff({
  from: { tag: "schemaDatasource", files, configDir: process.cwd() },
  to: { tag: "schemaDatamodel", files, configDir: process.cwd() },
  script: true,
  exitCode: true,
  shadowDatabaseUrl: null,
  filters: { externalTables: [], externalEnums: [] },
});
console.log(JSON.stringify({ empty: answer.exitCode === 0, script: answer.stdout }));
process.exit(0);
