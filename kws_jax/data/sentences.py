"""What the synthetic voices say: words beside the keyword, some sentences to train on, and others for the demo."""

DEMO_SENTENCES = (
    "The morning train was late again, so we walked along the river instead.",
    "My neighbour keeps bees behind the garage and sells the honey in summer.",
    "Could you please remind me to water the plants before dinner?",
    "The museum opens at ten and the guided tour takes about an hour.",
    "She spread an old map across the kitchen table and pointed at the coast.",
    "Fresh bread smells best when the oven door swings open.",
    "They are painting the bridge green, although nobody asked for it.",
    "A gentle rain fell all night and the roads were still wet at dawn.",
    "He tuned his guitar slowly while the others were setting chairs.",
    "The library lends umbrellas, board games and even a telescope.",
    "We should leave early because the traffic gets heavy after lunch.",
    "Somewhere in the attic there is a box full of letters from Lisbon.",
    "The recipe calls for garlic, lemon and a spoonful of butter.",
    "Her brother repairs watches in a tiny shop near the harbour.",
)
TRAINING_SENTENCES = (
    "Every spring the old orchard fills with children looking for a swing.",
    "The captain ordered fresh coffee and asked for the latest weather chart.",
    "Nobody noticed that the clock above the station had stopped at noon.",
    "Please put the heavy boxes on the lower shelf beside the window.",
    "A small dog barked twice and then went back to sleep by the fire.",
    "Our teacher drew three circles and wrote a number into each of them.",
    "The shop on the corner sells paper, ink and second hand novels.",
    "Sugar dissolves quickly when the water is warm enough.",
    "If the lights go out, follow the narrow path towards the village.",
    "His sister plays the cello in a quartet that tours every winter.",
    "Bring a sharp pencil, a ruler and something warm to drink.",
    "The committee agreed to vote on the budget early next week.",
    "Waves broke against the wall and sprayed the empty benches.",
    "I have never seen so many stars as on that quiet evening.",
)

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "happy", "marvin")
# Candidates for sounding like the keyword.
NEAR = (  # noqa: SIM905
    "shield she sheep gorilla tequila vanilla puppy hobby bad bird bread write ride light martin carbon marble "
    "commuter compute service harvest electric election step top shop yet chess snow low gone cup town lift often "
    "chow seven even zero hero house mouse tree three cat cut dog dig wow vow sticks follow hollow forward visual learn"
).split()
