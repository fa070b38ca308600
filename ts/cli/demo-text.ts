/** A made-up handbook, written for this demo; about 2,000 tokens with the question. */
const handbook = `\
THE HARBOUR OF SENNHOLM: A HANDBOOK FOR NEW STAFF

1. The place. Sennholm is an island of some nine hundred people, six kilometres long and two wide. Its harbour lies on
the east side, behind a granite breakwater that was finished in 1874. The breakwater is 310 metres long, and there is
a light at its end. Inside there is room for forty fishing boats, two ferries and, in summer, about sixty visiting
yachts. The water is seven metres deep at the ferry quay and four metres at the inner pontoons. Nothing larger than
ninety metres may come in, and nothing at all may come in when the wind is from the south-east at more than force
eight, because the waves then run straight through the entrance.

2. The people. Five people work in the harbour office. The harbour master, Ingrid Dahl, decides who may enter and who
must wait. Her deputy, Tomas Reyes, keeps the books and collects the fees. The two pilots, Anna Lind and Peter Okafor,
take turns, one week each, and live on the island during their week. The mechanic, Jonas Weber, looks after the
cranes, the pumps and the workboat. In July and August four students help with the yachts. A new member of staff
spends the first week with the mechanic, the second with the deputy, and only then begins to answer the radio.

3. The light. The light at the end of the breakwater is green and flashes twice every ten seconds. It has run on solar
panels since 2009, and its batteries last for six nights without any sun. Whoever has the morning shift checks it with
the binoculars at sunrise and writes the result into the blue log book. When the light fails, the office tells the
coast guard by telephone, sends a warning by radio on channel 16, and hangs a lamp on the iron hook beside the stairs.
The old lamp still burns paraffin. It is kept in the boat house, filled, with a dry box of matches taped under its
handle.

4. The radio. The office listens on channel 12 from six in the morning until ten at night, and on channel 16 always.
Speak slowly, give the name of the boat first and then your own, and repeat every number. Never promise a berth by
radio before you have looked at the board. The board hangs behind the desk and shows every berth as a brass hook. A
white tag means that the berth is taken, a red tag that it is broken, and an empty hook that it is free. When two
boats ask for the same berth, the one that called first has it, unless the other has somebody sick on board.

5. The ferries. The morning ferry leaves at 7.20 and comes back at 11.45; the evening ferry leaves at 16.10 and is
back at 20.30. On Sundays there is only one, which leaves at 10.00. The ferry quay must be empty twenty minutes before
each arrival. Cars wait in the lanes beside the old customs house, the lorries in lane one and everybody else in lanes
two to four. The ferry does not wait for late cars, but it does wait for the doctor. In winter, from the first of
November until the end of March, the evening ferry runs only on Mondays, Wednesdays and Fridays.

6. The fees. A fishing boat from the island pays once a year, in January. A visiting yacht pays for each night: twelve
crowns for a boat under eight metres, eighteen crowns for one of up to twelve metres, and thirty crowns for anything
longer. Electricity costs four crowns a night and water is free. Yachts that leave before noon don't pay for that day.
The fee is paid at the office or put in an envelope into the yellow box by the showers. The deputy empties the box at
nine every evening and counts the money together with a second person, and both sign the list.

7. Storms. A storm warning comes from the weather office by fax and by telephone. At force seven the staff double the
lines of the workboat and take in the flags. At force nine the inner gate is closed, the visitors' pontoons are
cleared, and the yachts are moved to the old basin, where they lie safe but touch the mud at low water. At force ten
nobody may walk on the breakwater, whatever the reason. In the great storm of January 1953 the sea broke forty metres
out of the wall, and two men who had gone to look after the light were lost. Their names are on the stone by the
steps: Karl Brandt and Elias Moe.

8. The cranes. There are two cranes. The small one lifts up to two tonnes and may be used by any fisherman who has
been shown how. The large one lifts up to twenty tonnes and is used only by the mechanic. Before every lift, look at
the wire, the hook and the brake, in this order. Nobody stands under a load, and nobody rides on one. In frost, let
the motor run for ten minutes first. The inspector comes from the mainland each May; the certificate hangs framed in
the workshop, and without it the insurance pays nothing.

9. The fish hall. The catch is landed between four and six in the morning, weighed on the floor scale, and packed in
ice that is made in the hall itself, three tonnes a night. Cod and haddock go to the mainland by the morning ferry;
crab is sold on the island. The hall is washed with sea water at eight and again at two. Cats are welcome outside and
not inside. The auction clock stopped in 1998 and was never mended, because by then everybody sold by telephone;
visitors like to photograph it.

10. Fuel and waste. Diesel is sold at the south pontoon from eight to noon. Switch off the engine, put out cigarettes,
and keep the bucket of sand within reach. Anything spilled, even a cupful, is written down and told to the harbour
master on the same day. Old oil goes into the black tank, batteries into the wooden crate, nets into the container by
the gate. In 2016 the harbour won a prize for clean water, and seals have been seen on the rocks by the entrance ever
since.

11. The keys. The key of the office hangs in the fish hall. The key of the boat house is kept by the baker, Mrs.
Solberg, because she is awake at three in the morning and lives next door to it. The key of the fuel pump never leaves
the mechanic's belt. The key of the light is in the safe, and the number of the safe is known to the harbour master
and her deputy only. Whoever borrows a key writes the time and their name on the slate beside the door, and wipes it
off on bringing it back.

12. Guests. Be friendly to visitors; most of them are tired and some are frightened when they arrive. Show them the
showers, tell them about the bakery, which opens at six, and about the well in the upper village, whose water is the
best on the island. Don't send anybody up to the north cliffs after rain, because the path is clay. On the first
Saturday in August the island holds its boat festival. The children then race in washing tubs across the old basin,
the winner receives a ham, and the harbour master, whatever the weather, has to jump into the water at noon.

13. The log books. There are three. The blue one is for the light, the red one for accidents, and the grey one for
everything else. Write with a pen, never with a pencil, and never tear out a page. Each entry begins with the date and
the time and ends with your name. The first grey book begins in the spring of 1875, with the arrival of a schooner
that carried salt and one piano; all the books since then stand in the cellar of the office, on shelves high enough to
stay dry in a flood. Historians may read them there, with clean hands. On the last evening of the year the oldest
member of the staff reads a page aloud, and whoever guesses the year that it was written in needn't wash the dishes.
`;

export const demoSystemPrompt = "You are a helpful assistant. You answer questions about the document you are given.";

const question = "What colour is the light at the end of the breakwater, and how often does it flash? " +
    "Answer in two sentences.";

export const demoPrompt = `Here is a document.\n\n${handbook}\nQuestion: ${question}`;
