"""Evaluation as the field does it: a test set, methods, tables with intervals, figures and a page to look at them.

testset      what a test set is on disk, read with distrust
writing      pictures as files that depend on their pixels alone
making       makes one: the virtual camera on whole frames of held-out sources
candidates   the frames that one may be made from: of a bank's test side, or of a folder
expansion    a classical operator as baseline
methods      from a photograph to radiance, whichever method
scoring      one method on one picture: aligned, measured, kept; what is there already is not done again
variants     the rows of Table 2, found in a folder of runs
labels       what people call the metrics
parallel     many such jobs on several processes
results      the scores of all methods, and the pictures that all of them have
statistics   means with intervals, paired differences
notes        what the numbers may be compared with
tables       Tables 1 and 2 of Santos et al. 2020 as CSV and Markdown
saturation   quality against the saturated share (their Fig. 8)
ablation     crops side by side (their Figs. 10 to 12)
charts       Fig. 8 and the crops as pictures
previews     radiance as 8-bit pictures that a browser can expose anew
sections     what each command leaves for the page
viewing      which previews the page shows
page         everything in OUT as one page
commands     the command line of all this
"""
