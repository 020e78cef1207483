/**
 * Units from outside: a specification is whatever somebody sent, until every field of it is known to
 * be what it should be.
 *
 * Whether its numbers go together (k features of 10, say) is the trainer's to say. A model and a text
 * are read from wherever they are said to be: who may send units may read what the nodes can.
 *
 * @module
 */
import { repeatedKey } from "../files/json_keys.ts";
import { HARVEST, NFM, SAE } from "../study/config_fields.ts";
import {
  type Check,
  flag,
  integer,
  mapOf,
  nullOr,
  number,
  object,
  oneOf,
  text,
} from "../study/fields.ts";
import type { MeasureSettings, StudyText, Unit } from "./unit.ts";

/** Parts of a harvest: more would be smaller than a sequence in any text there is. */
const MOST_SHARDS = 1_000_000;
const SEED = integer(0);
const COUNT = integer(1);
/** A path or the name of a repository: no control characters. */
const PLACE = text(/^[^\p{Cc}]{1,4096}$/u, "a path or a name");
const DATA = object<StudyText>({
  model: nullOr(PLACE),
  text: PLACE,
  seed: SEED,
  harvest: HARVEST,
  shards: integer(1, MOST_SHARDS),
}, { stream: flag });

const MEASURE = object<MeasureSettings>({}, {
  at: oneOf("target", "mean"),
  share: number(),
  seed: SEED,
  ...{ draws: COUNT, permutations: integer(0), untrained: integer(0) },
});

const SPLIT = oneOf("train", "validation", "test");
const DESIGN = text(/^\w[\w-]{0,63}$/, "the name of a design in data/stimuli");
/** Names of models stand in results only; still they are names, of one line. */
const MODEL_NAME = /^[\p{L}\p{N}][\p{L}\p{N} .,:=+_-]{0,63}$/u;

const tagged = (tag: string, kinds: Record<string, Check>): Check => (value, path) => {
  const chosen = (value as Record<string, unknown> | null)?.[tag];
  oneOf(...Object.keys(kinds))(chosen, path === "" ? tag : `${path}.${tag}`);
  kinds[chosen as string](value, path);
};

const MODEL = tagged("trainer", {
  nfm: object({ trainer: oneOf("nfm"), config: NFM }, { tokens: COUNT }),
  secondary: object({ trainer: oneOf("secondary"), config: SAE }, { tokens: COUNT }),
});

const TOKENS_TRAINED = { tokens: COUNT, window: COUNT };
const trained = (fields: Record<string, Check>) =>
  object({ kind: oneOf("train"), trainer: text(/^/, "a name"), data: DATA, ...fields }, {
    ...TOKENS_TRAINED,
  });

const UNIT = tagged("kind", {
  harvest: object({ kind: oneOf("harvest"), data: DATA, shard: integer(0) }, {}),
  merge: object({ kind: oneOf("merge"), data: DATA }, {}),
  train: tagged("trainer", {
    sae: trained({ config: SAE }),
    secondary: trained({ sae: SAE, config: SAE }),
    nfm: trained({ sae: SAE, config: NFM }),
  }),
  evaluate: object({
    kind: oneOf("evaluate"),
    ...{ data: DATA, sae: SAE, models: mapOf(MODEL_NAME, MODEL), split: SPLIT, seed: SEED },
  }, { window: COUNT }),
  measure: object({
    kind: oneOf("measure"),
    ...{ data: DATA, sae: SAE, nfm: NFM, design: DESIGN },
  }, { ...TOKENS_TRAINED, options: MEASURE }),
});

/**
 * Makes sure that a value is a unit, field by field: nothing is missing, of another type, out of range
 * or unknown.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { requireUnit, studyConfig } from "interlens";
 *
 * const { model, text, seed, harvest } = studyConfig();
 * const data = { model, text, seed, harvest, shards: 4 };
 * requireUnit({ kind: "harvest", data, shard: 3 });
 * assertThrows(() => requireUnit({ kind: "harvest", data, shard: 4 }), RangeError, "0…3");
 * assertThrows(() => requireUnit({ kind: "dig", data }), RangeError, '"kind" is "dig"');
 * ```
 *
 * @throws {RangeError} Naming the field, what it is and what was expected.
 */
export function requireUnit(value: unknown): asserts value is Unit {
  UNIT(value, "");
  const unit = value as Unit;
  if (unit.kind === "harvest") integer(0, unit.data.shards - 1)(unit.shard, "shard");
  const { train } = unit.data.harvest.tokens;
  if (train === "all") return;
  const harvested: Check = (tokens, path) =>
    tokens === undefined || integer(1, train)(tokens, path, ", of those of the harvest");
  if (unit.kind === "train" || unit.kind === "measure") harvested(unit.tokens, "tokens");
  if (unit.kind !== "evaluate") return;
  for (const [name, { tokens }] of Object.entries(unit.models)) {
    harvested(tokens, `models.${name}.tokens`);
  }
}

/**
 * A unit from its JSON.
 *
 * ```ts
 * import { assertThrows } from "@std/assert";
 * import { parseUnit } from "interlens";
 *
 * assertThrows(() => parseUnit("harvest"), SyntaxError, "expected JSON");
 * assertThrows(() => parseUnit('{"kind": "merge"}'), RangeError, '"data" is missing');
 * ```
 *
 * @throws {SyntaxError} If it is no JSON.
 * @throws {RangeError} If it is no unit, naming the field.
 */
export function parseUnit(json: string): Unit {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (error) {
    const start = json.length > 60 ? `${json.slice(0, 60)}…` : json;
    throw new SyntaxError(
      `Cannot read the unit ${JSON.stringify(start)}: expected JSON, ` +
        `${(error as Error).message}`,
    );
  }
  const twice = repeatedKey(json);
  if (twice !== undefined) {
    throw new RangeError(`Cannot use the unit: it has "${twice}" twice in one object`);
  }
  requireUnit(value);
  return value;
}
