"""The words of seeded data: names, places, and the vocabulary of each topic.

It has words only: `db.seed.texts` makes texts of them. Nothing here is taken from a person or a publication. If a word
changes, the rows of a seed change.
"""

from collections.abc import Sequence
from dataclasses import dataclass


def _words(text: str, separator: str = " ") -> list[str]:
    return text.split(separator)


@dataclass(frozen=True)
class Topic:
    """The topic of a post, as the words that fit into sentences about it.

    Attributes:
        subject: a mass noun.
        nouns: countable things, in the singular.
        plurals: things in the plural.
        doings: activities, as gerunds.
        qualities: adjectives that fit any of the things.
    """

    subject: str
    nouns: Sequence[str]
    plurals: Sequence[str]
    doings: Sequence[str]
    qualities: Sequence[str]

    @classmethod
    def of(cls, subject: str, nouns: str, plurals: str, doings: str, qualities: str) -> "Topic":
        """Return a topic from words that are separated by commas."""
        return cls(subject, *(_words(part, ", ") for part in (nouns, plurals, doings, qualities)))


# Always the first users. People who try Folio sign in as one of them.
FOUNDERS = (("ada", "Ada Marsh"), ("ben", "Ben Okafor"))

# No name contains a digit or an underscore, so that different names make different usernames.
FIRST_NAMES = _words(
    "Aaron Abena Adele Agnes Aisha Alba Alejandro Amara Amir Anaïs Andrej Anouk Antonio Aoife Arjun Astrid Bao "
    "Beatriz Björn Bruno Camille Carmen Cécile Chiara Chidi Clara Daan Dalia Damien Daniela Dario Deepa Elena Elias "
    "Elif Émile Emma Enzo Esther Eva Fatima Felix Fiona Florian Freya Gabriel Georgia Giulia Grace Greta Hana Hannah "
    "Hassan Hélène Henrik Hugo Ida Ines Ingrid Irene Isaac Ivana Jamal Jana Jasper Joana João Jonas Josefa Julia "
    "Kaito Karim Katja Kenji Kira Kofi Lars Laura Layla Lea Leon Lina Lucía Lukas Maja Malik Marek Maria Martin Mateo "
    "Maya Mehmet Mei Milan Mira Nadia Naomi Nia Niamh Nikolai Nina Noah Nora Olga Oliver Omar Oscar Paula Petra Pia "
    "Priya Quentin Rachel Rafael Ravi Renée Rosa Ruben Samira Sara Sebastián Selma Simon Sofia Stella Sven Tamar "
    "Tariq Tessa Theo Tomáš Uma Ursula Valentina Vera Victor Wanda Wei Xenia Yara Yusuf Yuki Zainab Zoë"
)

LAST_NAMES = _words(
    "Abbott Achebe Adler Aguilar Ahmadi Almeida Andersson Aoki Baker Bakker Banerjee Barros Bauer Becker Bellini "
    "Bergström Bianchi Blanc Boateng Brandt Byrne Carvalho Castillo Chen Conti Costa Cruz Dahl Delgado Demir Diallo "
    "Díaz Dubois Duran Eriksen Esposito Farah Ferreira Fischer Fontaine Fraser Fujita García Gomes González Green "
    "Gruber Gupta Haas Hansen Haruki Hayes Hoffmann Horváth Hughes Ibrahim Ito Iyer Jansen Jensen Jiménez Joshi Kamau "
    "Kaplan Kaya Keller Khan Kim Klein Kovač Kowalski Kumar Lambert Larsen Laurent Lehmann Lindqvist Lopes López "
    "Malik Marino Martins Mbeki Mendes Meyer Mori Müller Murphy Mwangi Nakamura Navarro Nguyen Nielsen Novak Nowak "
    "Núñez Obi Oliveira Olsen Ortega Osei Park Patel Pereira Petrov Pinto Popescu Quinn Ramos Rao Reyes Ricci Rivera "
    "Romano Rossi Roux Sánchez Santos Sato Schmidt Schneider Sharma Silva Singh Soto Suzuki Svensson Szabo Takeda "
    "Tanaka Thomas Torres Tremblay Vargas Vermeulen Vidal Virtanen Vogel Walsh Weber Wilson Wójcik Wong Yamada Zhang "
    "Zimmermann"
)

# Words that fit into a sentence about any topic.
ANYWHERE: dict[str, Sequence[str]] = {
    "place": _words(
        "Aarhus, Bergen, Bologna, Bristol, Brno, Cork, Dakar, Dresden, Edinburgh, Galway, Genoa, Ghent, Gdańsk, Graz, "
        "Halifax, Kyoto, Leipzig, Lisbon, Ljubljana, Lyon, Malmö, Marseille, Nairobi, Oaxaca, Oslo, Porto, Riga, "
        "Rotterdam, Seville, Tallinn",
        ", ",
    ),
    "town": _words(
        "Accra, Antwerp, Basel, Bilbao, Boston, Bruges, Cádiz, Dublin, Glasgow, Hanoi, Helsinki, Kraków, Lima, "
        "Melbourne, Montréal, Naples, Osaka, Quito, Tbilisi, Toronto, Trieste, Turin, Utrecht, Valencia, Vienna, "
        "Vilnius, Wellington, York, Zagreb, Zürich",
        ", ",
    ),
    "person": FIRST_NAMES,
    "month": _words("January February March April May June July August September October November December"),
    "number": _words("three four five six seven eight nine ten eleven twelve"),
    "count": [str(count) for count in range(20, 400, 7)],
    "year": [str(year) for year in range(1998, 2026)],
}

TITLES = (
    "What {doing} taught me about {plurals}",
    "The {quality} {noun}, {number} years later",
    "{number} mistakes I made while {doing}",
    "Notes on {subject} from {place}",
    "Why I stopped worrying about {plurals}",
    "In praise of the {quality} {noun}",
    "Where to begin with {plurals}",
    "{subject} in {month}: a diary",
    "How {person} and I spent {month} {doing}",
    "{plurals} compared: {place} against {town}",
    "The {noun} that changed how I think about {subject}",
    "Is {doing} worth the trouble?",
    "Everything I got wrong about {plurals} in {year}",
    "{number} questions about {subject}, answered",
    "On {doing}, patience and the {quality} {noun}",
    "{doing} with {person} in {town}",
    "The case against {quality} {plurals}",
    "{subject} after {count} days",
)

SENTENCES = (
    "Most of what I know about {subject} I learned from one {quality} {noun} and a lot of patience.",
    "The {noun} is where {doing} begins, and where most people give up within {number} weeks.",
    "In {place} I met {person}, who had spent {number} years {doing} and regretted none of them.",
    "Nobody tells you that {plurals} are easier to love than to keep, least of all in {month}.",
    "If the {noun} seems too {quality}, change one thing at a time and write down what you did.",
    "I keep a notebook about {plurals}; by the end of {year} it had grown to {count} pages.",
    "{doing} looks simple from outside, but the {noun} has its own opinion about it.",
    "What surprised me was how {quality} the {noun} became once I stopped {doing} every day.",
    "A friend in {place} swears by {plurals}, while {person} would rather talk about the {noun}.",
    "There are {number} reasons to care about {plurals}, and the {quality} ones come last.",
    "On cold mornings the {noun} takes longer, so I start {doing} before the coffee is ready.",
    "My second attempt at {doing} went better, mostly because the {noun} was less {quality}.",
    "We compared {plurals} from {place} and {town}, and the difference was smaller than the price.",
    "By {month} I had tried {number} kinds of {plurals} and could finally tell the {quality} ones apart.",
    "My rule for {subject} is short: respect the {noun}, keep {doing}, and forgive the rest.",
    "It took {number} failures before {doing} felt natural, and the {noun} still bears the marks.",
    "Books about {subject} rarely mention the {quality} {noun}, although everybody ends up with one.",
    "When {person} visited in {month}, we spent the whole weekend {doing} and hardly noticed the rain.",
    "For a start I recommend {plurals}: they are cheap, {quality} and easy to replace.",
    "Measured over {count} days, {doing} cost me less money than I feared and more time than I hoped.",
    "I once paid {count} euros for {plurals} because I trusted the {noun} too early.",
    "The trick, if there is one, lies in {doing} slowly and leaving the {noun} alone afterwards.",
    "Old {plurals} have a charm of their own, and the {quality} {noun} on my shelf proves it.",
    "Since {year} the circle of friends of {subject} in {town} has doubled, and its {plurals} have become better.",
    "You can argue about {plurals} all evening; the {noun} does not care, and neither does {person}.",
    "{person} showed me a {number}-minute routine for {doing}, and I have used it ever since {month}.",
    "The club in {town} lends out {plurals}, so nobody has to buy a {number}-year supply on the first day.",
    "Looking back at {year}, I would spend less on {plurals} and more on the one {quality} {noun}.",
    "Some call {subject} a hobby; in {place} it is closer to a habit, like {doing} before breakfast.",
)

BIOS = (
    "Writes about {subject} and, now and then, about {plurals}.",
    "Lives in {place}, mostly {doing}.",
    "Learned {subject} in {town} and never stopped.",
    "Looking for {quality} {plurals} since {year}.",
    "Happiest while {doing}.",
    "Asks {person} whenever the {noun} gives trouble.",
)

MEMOS = _words("rent, dinner, train tickets, concert, groceries, present, deposit back, books, hotel, thank you", ", ")

TOPICS = (
    Topic.of(
        "baking bread",
        "starter, loaf, crust, oven, crumb, proofing basket, kitchen scale, baking stone",
        "loaves, rye flours, long ferments, seeded crusts, sourdough cultures, bread knives",
        "shaping the dough, feeding the starter, waiting for the rise, scoring the crust, weighing every gram",
        "sour, crisp, golden, dense, forgiving, wholesome",
    ),
    Topic.of(
        "repairing bicycles",
        "bottom bracket, chain, wheel, derailleur, saddle, brake cable, frame, freewheel",
        "spokes, tyres, steel frames, hub gears, chain tools, cargo bikes",
        "truing the wheels, replacing the chain, patching the tube, adjusting the brakes, cleaning the drivetrain",
        "rusty, light, squeaking, reliable, vintage, sturdy",
    ),
    Topic.of(
        "growing vegetables",
        "raised bed, greenhouse, compost heap, watering can, seed tray, cold frame, rain barrel, allotment",
        "tomatoes, runner beans, seedlings, old potato varieties, herbs, winter salads",
        "sowing in trays, turning the compost, thinning the carrots, saving seeds, watering at dusk",
        "sunny, fertile, tender, stubborn, early, generous",
    ),
    Topic.of(
        "film photography",
        "darkroom, lens, light meter, enlarger, shutter, contact sheet, rangefinder, tripod",
        "negatives, prints, prime lenses, rolls of film, portraits, long exposures",
        "developing the film, waiting for the light, printing at night, loading the camera, metering the shadows",
        "grainy, sharp, faded, honest, underexposed, quiet",
    ),
    Topic.of(
        "long-distance walking",
        "rucksack, trail, mountain hut, map, compass, pass, footbridge, rain jacket",
        "boots, blisters, ridge paths, waymarks, hiking poles, packing lists",
        "crossing the moor, reading the map, walking before dawn, drying socks, counting the miles",
        "steep, muddy, lonely, windswept, gentle, waterproof",
    ),
    Topic.of(
        "learning languages",
        "dictionary, grammar, accent, phrasebook, tandem partner, verb, flash card, dialect",
        "irregular verbs, loan words, vowels, subtitles, tongue twisters, idioms",
        "conjugating verbs, reading the newspaper aloud, listening to the radio, making mistakes, writing postcards",
        "foreign, fluent, melodious, puzzling, polite, archaic",
    ),
    Topic.of(
        "playing the piano",
        "metronome, left hand, pedal, keyboard, nocturne, scale, cadence, tuner",
        "arpeggios, études, chord changes, fingerings, duets, jazz standards",
        "practising scales, playing by ear, sight-reading a waltz, slowing down, tuning the strings",
        "delicate, slow, brilliant, muffled, familiar, uneven",
    ),
    Topic.of(
        "restoring furniture",
        "chisel, workbench, drawer, veneer, dovetail, plane, hinge, armchair",
        "wood stains, mortises, old varnishes, brass fittings, clamps, oak boards",
        "sanding the surface, sharpening the chisel, gluing the joints, stripping the paint, waxing the top",
        "worn, solid, wobbly, elegant, handmade, scratched",
    ),
    Topic.of(
        "brewing coffee",
        "grinder, kettle, portafilter, espresso machine, paper filter, moka pot, milk jug, roaster",
        "beans, light roasts, cups, espresso blends, filters, single origins",
        "grinding the beans, timing the bloom, steaming milk, tasting side by side, descaling the machine",
        "bitter, bright, floral, fresh, balanced, smooth",
    ),
    Topic.of(
        "keeping bees",
        "hive, queen, smoker, swarm, honey extractor, brood frame, veil, apiary",
        "colonies, honey jars, drones, wildflowers, wax combs, winter losses",
        "inspecting the frames, catching a swarm, feeding the colony, harvesting honey, counting mites",
        "calm, busy, healthy, defensive, fragrant, wintering",
    ),
    Topic.of(
        "amateur astronomy",
        "telescope, eyepiece, mount, star chart, finder scope, nebula, dome, meridian",
        "galaxies, meteor showers, double stars, planets, dark skies, lunar craters",
        "finding the pole star, waiting for a clear night, sketching the moon, aligning the mount, dodging clouds",
        "distant, faint, bright, steady, remote, frosty",
    ),
    Topic.of(
        "free software",
        "pull request, release, bug tracker, maintainer, licence, changelog, compiler, test suite",
        "patches, contributors, breaking changes, code reviews, dependencies, mailing lists",
        "reviewing patches, writing documentation, bisecting a regression, answering questions, cutting a release",
        "stable, readable, legacy, portable, minimal, untested",
    ),
    Topic.of(
        "database design",
        "index, query plan, foreign key, transaction, replica, schema, ledger, migration",
        "constraints, deadlocks, backups, joins, slow queries, materialized views",
        "reading query plans, adding an index, testing the restore, normalizing the schema, measuring first",
        "consistent, durable, slow, relational, denormalized, boring",
    ),
    Topic.of(
        "reading novels",
        "narrator, bookshop, library card, chapter, paperback, translator, bookmark, plot",
        "footnotes, family sagas, second-hand editions, minor characters, first sentences, endings",
        "reading on trains, underlining in pencil, rereading the classics, skipping ahead, lending books",
        "unreliable, slim, melancholy, unfinished, gripping, forgotten",
    ),
    Topic.of(
        "knitting",
        "needle, pattern, sleeve, gauge swatch, yarn shop, stitch marker, cable, pullover",
        "socks, merino yarns, shawls, dropped stitches, colour charts, mittens",
        "casting on, counting stitches, unravelling a sleeve, blocking the shawl, winding wool",
        "woolly, itchy, warm, intricate, colourful, lopsided",
    ),
    Topic.of(
        "playing chess",
        "opening, endgame, bishop, club night, tournament, pawn, chess clock, gambit",
        "blunders, studies, knights, sacrifices, fianchettos, rook endings",
        "solving puzzles, analysing lost games, playing blitz, memorising lines, trading queens",
        "positional, sharp, drawn, aggressive, subtle, losing",
    ),
    Topic.of(
        "watching birds",
        "pair of binoculars, hide, field guide, nest box, marsh, feeder, flock, heron",
        "warblers, migrants, swifts, owls, bird calls, ringing reports",
        "waiting in the hide, counting waders, listening at dawn, filling the feeder, keeping a list",
        "shy, rare, migratory, noisy, speckled, elusive",
    ),
    Topic.of(
        "typography",
        "typeface, serif, baseline, margin, ligature, letterpress, specimen, italic",
        "ligatures, small capitals, wood types, book covers, hyphens, specimens",
        "kerning the headline, setting type by hand, choosing a typeface, counting characters, printing proofs",
        "legible, condensed, humanist, bold, generous, crooked",
    ),
    Topic.of(
        "travelling by rail",
        "sleeper, timetable, platform, branch line, dining car, ticket office, signal box, window seat",
        "night trains, delays, border crossings, rail passes, viaducts, connections",
        "changing trains, studying the timetable, sleeping upright, missing a connection, looking out of the window",
        "punctual, crowded, scenic, overnight, abandoned, comfortable",
    ),
    Topic.of(
        "designing board games",
        "prototype, rulebook, meeple, deck, hex map, playtest, expansion, score track",
        "dice, victory points, house rules, wooden tokens, player boards, cooperative games",
        "testing with strangers, balancing the costs, rewriting the rules, shuffling, cutting cards",
        "unbalanced, clever, random, playable, thematic, ruthless",
    ),
)
