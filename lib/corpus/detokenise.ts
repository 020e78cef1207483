/**
 * From the Brown Corpus' `word/tag` notation back to text as it was printed.
 *
 * @module
 */

/** Signs that stand without a space before them. */
const CLOSES = new Set([",", ".", ";", ":", "?", "!", ")", "]", "''"]);
/** Signs that stand without a space after them. */
const OPENS = new Set(["(", "[", "``"]);
/** Signs that join their neighbours: a range ("1960-1962"), a ratio ("lb./cu. ft."). */
const JOINS = new Set(["-", "/"]);
/** Last words of a sentence. */
const ENDS = new Set([".", "?", "!", ";", "''"]);
/** Marks that the notation writes twice at the end of a sentence or clause. */
const DOUBLED = new Set(["?", "!", ";", ","]);

/**
 * Text of a file in the notation of the tagged Brown Corpus.
 *
 * - Paragraphs (blocks between blank lines) and headings (tags that end in `-hl`) are joined by an
 *   empty line.
 * - Quotation marks become `"` and `'`. The notation sets every mark behind a closing quotation
 *   mark; American print sets commas and periods before it, and so does this, as it does with the
 *   question and exclamation marks of direct speech.
 * - Marks that the notation doubles become one, and the period that ends a sentence is not added to
 *   an abbreviation that ends in one.
 * - Contractions and compound tags (`I'm/ppss+bem`) are one word in the corpus and stay so.
 * - What the corpus itself replaced stays as it stands there: `Af` for a formula, `**yf` for a Greek
 *   letter. `*0` is the degree sign.
 *
 * @param tagged Words as `word/tag`, separated by white space.
 */
export function detokenise(tagged: string): string {
  const paragraphs = paragraphsOf(tagged);
  for (let i = 0; i + 1 < paragraphs.length; i++) {
    // A quotation that fills the next paragraph is opened at the end of this one.
    if (paragraphs[i].at(-1) === "``") paragraphs[i + 1].unshift(paragraphs[i].pop()!);
  }
  return paragraphs.map(join).filter((text) => text !== "").join("\n\n");
}

/** Words without their tags, by paragraph; a heading is a paragraph. */
function paragraphsOf(tagged: string): string[][] {
  const paragraphs: string[][] = [];
  for (const block of tagged.split(/\n[ \t]*\n/)) {
    paragraphs.push([]);
    let inHeading = false;
    for (const line of block.split("\n")) {
      const tokens = line.split(/\s+/).filter(Boolean);
      if (tokens.length === 0) continue;
      const words = tokens.map(wordOf);
      const ofHeading = tokens.filter((token) => token.endsWith("-hl")).length;
      const last = paragraphs.at(-1)!.at(-1);
      // The same tags mark italics within a sentence.
      const heading: boolean = 2 * ofHeading >= tokens.length &&
        (inHeading || !last || ENDS.has(last));
      // A dateline ("Washington, July 24 -- …") goes on where it stands.
      const goesOn = words[0] === "--" || CLOSES.has(words[0]);
      if (heading || inHeading && !goesOn) paragraphs.push([]);
      paragraphs.at(-1)!.push(...words);
      inHeading = heading;
    }
  }
  return paragraphs.filter((words) => words.length > 0);
}

/** The word without its tag; a word may hold slashes, a tag holds none. */
function wordOf(token: string): string {
  const slash = token.lastIndexOf("/");
  return slash <= 0 ? token : token.slice(0, slash);
}

function join(words: string[]): string {
  let text = "";
  let attach = true;
  let insideSingle = false;
  // Whether the quotation that is open, or was closed last, is direct speech.
  let speech = false;
  // Closing quotation marks at the end of the text: a mark may have to go before them.
  let closing = 0;
  for (let i = 0; i < words.length; i++) {
    const word = words[i];
    if (word === words[i - 1] && DOUBLED.has(word)) continue;

    const before = text.at(-1 - closing) ?? "";
    if (word === "." && (before === "." || closing > 0 && "?!".includes(before))) continue;
    const moves = word === "," || word === "." || speech && (word === "?" || word === "!");
    if (closing > 0 && moves && !"?!.,".includes(before)) {
      text = text.slice(0, -closing) + word + text.slice(-closing);
      closing = 0;
      continue;
    }

    const single = word === "'";
    const closesQuotation = word === "''" || single && insideSingle;
    if (word === "``" || single && !insideSingle) speech = /(^|[,.:;?!"]|--)$/.test(text.slice(-2));
    if (single) insideSingle = !insideSingle;

    if (!attach && !CLOSES.has(word) && !closesQuotation && !JOINS.has(word)) text += " ";
    text += word.replaceAll("``", '"').replaceAll("''", '"').replaceAll(/\*&?0/g, "°");
    attach = OPENS.has(word) || single && insideSingle || JOINS.has(word);
    closing = closesQuotation ? closing + 1 : 0;
  }
  return text;
}
