import { assertEquals } from "@std/assert";
import { detokenise } from "../../lib/corpus/detokenise.ts";

/** Each case: what the corpus writes, what was printed. */
function holds(name: string, cases: [string, string][]): void {
  Deno.test(name, () => {
    for (const [tagged, text] of cases) assertEquals(detokenise(tagged), text);
  });
}

holds("marks stand against the word before them", [
  ["The/at jury/nn ,/, however/rb ,/, said/vbd :/: no/rb ./.", "The jury, however, said: no."],
  ["Why/wrb ?/. ?/.", "Why?"],
  ["No/rb !/. !/.\nGo/vb ;/. ;/.\nnow/rb ./.", "No! Go; now."],
]);

holds("brackets hold what is inside them", [
  ["It/pps (/( the/at law/nn )/) is/bez [/( so/rb ]/) ./.", "It (the law) is [so]."],
]);

holds("an abbreviation's period ends the sentence too", [
  ["Ivan/np Allen/np Jr./np ./.", "Ivan Allen Jr."],
  ["the/at ``/`` U.S./np ''/'' ./.", 'the "U.S."'],
]);

holds("quotation marks are signs of print, and commas and periods stand before them", [
  ["produced/vbd ``/`` no/at evidence/nn ''/'' that/cs", 'produced "no evidence" that'],
  ["``/`` No/rb ''/'' ,/, he/pps said/vbd ./.", '"No," he said.'],
  ["was/bedz ``/`` good/jj ''/'' ./.", 'was "good."'],
  ["``/`` a/at ''/'' ;/. ;/.\nb/nn", '"a"; b'],
  ["``/`` It's/pps+bez '/' See/vb Joe/np '/' ''/'' ,/, he/pps", "\"It's 'See Joe,'\" he"],
]);

holds("a question mark belongs to direct speech, but not to a word that is quoted", [
  ["``/`` Why/wrb ''/'' ?/. ?/.\nHe/pps asked/vbd ./.", '"Why?" He asked.'],
  ["He/pps said/vbd ,/, ``/`` Go/vb ''/'' !/. !/.", 'He said, "Go!"'],
  ["Is/bez he/pps a/at ``/`` fiend/nn ''/'' ?/. ?/.", 'Is he a "fiend"?'],
]);

holds("single quotation marks open and close in turn; an apostrophe stays with its word", [
  ["more/ap '/' pro/jj '/' letters/nns than/in '/' con/jj '/'", "more 'pro' letters than 'con'"],
  ["the/at taxpayers'/nns$ pockets/nns", "the taxpayers' pockets"],
]);

holds("contractions and compound tags are one word", [
  ["I'm/ppss+bem sure/jj we/ppss didn't/dod* ./.", "I'm sure we didn't."],
]);

holds("hyphens and slashes join, dashes do not", [
  ["the/at 1960/cd -/in 1962/cd period/nn", "the 1960-1962 period"],
  ["12/cd lb./nns //in cu./jj ft./nn and/or/cc", "12 lb./cu. ft. and/or"],
  ["term-end/nn --/-- so/rb", "term-end -- so"],
]);

holds("inches and degrees", [
  ["1/8''/nn thick/jj (/nil 32*0C./nil )/nil", '1/8" thick (32°C.)'],
]);

holds("paragraphs and headings are divided by an empty line", [
  ["\n\n\tOne/cd ./.\nTwo/cd ./.\n\n\n\tThree/cd ./.\n", "One. Two.\n\nThree."],
  [
    "\n\n\nMerger/nn-hl proposed/vbn-hl \nHowever/wrb ./.\n",
    "Merger proposed\n\nHowever.",
  ],
  ["\n\nOne/cd-hl \nTwo/cd-hl \nThree/cd ./.\n", "One\n\nTwo\n\nThree."],
  ["\n\nWashington/np-hl \n--/-- The/at President/nn-tl ./.\n", "Washington -- The President."],
  [
    "\n\nHe/pps wrote/vbd ,/,\ntotal/jj-hl disinterest/nn-hl \n./.\n",
    "He wrote, total disinterest.",
  ],
]);

holds("a quotation that fills the next paragraph opens there", [
  ["He/pps wrote/vbd :/: ``/``\n\n\n\tTo/to go/vb ''/'' ./.\n", 'He wrote:\n\n"To go."'],
]);

holds("nothing is nothing", [["", ""], ["\n\n \n", ""]]);
