import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { countTokens } from "gpt-tokenizer/encoding/o200k_base"
import { longestPiece, pieces, tally } from "../../src/route/Tokenizer.ts"

const exactly = (text: string): number => countTokens(text, { disallowedSpecial: new Set() })

const always = () => true

const fragments = [
  ..."the tokenizer's HTTPServer don't I'll naïve Größe e\u0301 トークン 👩‍👩‍👧 12345 3.14 x_y".split(" "),
  ..."( )) {\"a\": / // ' 's -- … « ==> <|endoftext|> ' \"".split(" "),
  " ", "  ", "\n", "\n\n  ", "\t", "\r\n", " \n", "\u00a0", "\u3000"
]
const Words = Schema.Array(Schema.Union([Schema.Literals(fragments), Schema.String.check(Schema.isMaxLength(8))])).check(Schema.isMinLength(10))

describe("Tokenizer", () => {
  it("counts known texts as OpenAI does", () => {
    // o200k_base, from OpenAI's "How to count tokens with tiktoken".
    const known: ReadonlyArray<readonly [string, number]> = [
      ["antidisestablishmentarianism", 6],
      ["2 + 2 = 4", 7],
      ["お誕生日おめでとう", 8],
      ["tiktoken is great!", 6],
      ["", 0]
    ]
    for (const [text, tokens] of known) assert.strictEqual(tally([text], exactly, always), tokens, text)
  })

  it.prop("cuts where no token goes over: the pieces of ordinary text count as the whole does", [Words], ([parts]) => {
    // A word of several letters every few parts: no piece is without a boundary.
    const words = parts.map((part, at) => (at % 8 === 0 ? ` word${part}` : part)).join("")
    const text = words.repeat(Math.ceil(3000 / words.length))
    assert.isAbove([...pieces(text)].length, 1)
    assert.strictEqual([...pieces(text)].reduce((sum, piece) => sum + exactly(piece), 0), exactly(text))
  })

  it.prop("loses nothing and splits no character", [Schema.String.check(Schema.isMinLength(1))], ([sample]) => {
    const text = sample.repeat(Math.ceil(2000 / sample.length))
    const found = [...pieces(text)]
    assert.strictEqual(found.join(""), text)
    if (text.isWellFormed()) for (const piece of found) assert.isTrue(piece.isWellFormed())
  })

  it("gives a tokenizer, whose work is the square of a word's length, only so much at once: the sum grows with the text alone", () => {
    const work = (text: string): number => {
      let steps = 0
      tally([text], (piece) => {
        steps += piece.length ** 2
        return 1
      }, always)
      return steps
    }
    for (const sign of ["^", "a", " ", "\n", "漢", "👍", "a ", "a\u0301"]) {
      const text = sign.repeat(100_000 / sign.length)
      for (const piece of pieces(text)) assert.isAtMost(piece.length, longestPiece)
      assert.isAtMost([...pieces(text)].length, 2 * text.length / longestPiece + 2, JSON.stringify(sign))
      assert.isAtMost(work(text), text.length * longestPiece)
    }
  })

  it("comes near the count of a word that is longer than a piece", () => {
    for (const text of ["^".repeat(5000), "漢字かな交じり文".repeat(300), "abcdefghij".repeat(500)]) {
      assert.closeTo(tally([text], exactly, always) / exactly(text), 1, 0.02)
    }
  })

  it("estimates what it has no time for by what it counted", () => {
    const text = "Whole paragraphs of plain English, one after the other, all of them alike. ".repeat(400)
    let left = 20
    let asked = 0
    const tokens = tally([text, text], (piece) => {
      asked++
      return exactly(piece)
    }, () => left-- > 0)
    assert.strictEqual(asked, 20)
    assert.closeTo(tokens / (2 * exactly(text)), 1, 0.05)
    assert.isAbove(tally([text], exactly, () => false), 0)
  })
})
